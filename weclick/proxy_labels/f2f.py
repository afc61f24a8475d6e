"""Proxy labels from classifier maps, gathered along the flow (Lee et al., ICCV 2019, "F2F")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from weclick.common.sections import ProxyLabelsSection
from weclick.manifest import Clip
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.background import Saliency, low_values, with_the_camera
from weclick.proxy_labels.class_maps import class_map
from weclick.proxy_labels.clip_flow import ClipFlow
from weclick.proxy_labels.clip_maps import ClipMaps
from weclick.proxy_labels.gathering import Leg, gather_legs
from weclick.proxy_labels.grids import to_grid
from weclick.proxy_labels.proxy_sources import key_of
from weclick.proxy_labels.runs import Chain, Run, best_runs, chains, confident_runs
from weclick.store import Store

BACKGROUND = 0
"""Class id of pixels where no class has a map, whatever its name."""

VERSION = 1
"""Of what is computed here. It rises when the same inputs would give another label."""


@dataclass(frozen=True)
class F2F:
    """Joins the maps of a run of frames at one of them. See `ProxySource`.

    Everything is warped on the grid of the maps: the cached flow is interpolated to it. What is gathered is
    then interpolated to the size of the frame, and cut there.

    Attributes:
        options: the section `proxy_labels`.
        classes: names of the data set's classes; the position is the class id.
        tags: the classes that occur in frames or clips.
        cams: clip id -> key of its maps.
        flow: clip id -> key of its flow along the chains of frames.
        store: holds both.
        saliency: saliency maps, if `options` takes background from them.
    """

    options: ProxyLabelsSection
    classes: tuple[str, ...]
    tags: TagTable
    cams: Mapping[str, str]
    flow: Mapping[str, str]
    store: Store
    saliency: Saliency | None = None

    name = "f2f"

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The maps, the flow if it is read, the tags, and the options that count.

        Raises:
            InputError: the clip has no maps, or no flow.
        """
        if not self._chains(clip):
            return {"f2f": None}
        made_from = {
            "version": VERSION,
            "cams": key_of(self.cams, clip, "cams"),
            "tags": [sorted(self._tagged(clip, t)) for t in range(len(clip.frames))],
            "options": options_that_count(self.options),
        }
        if self._reads_flow(clip):
            made_from["flow"] = key_of(self.flow, clip, "flow")
        if self.saliency:
            made_from |= self.saliency.key_inputs(clip)
        return {"f2f": made_from}

    def make(self, clip: Clip) -> list[tuple[int, np.ndarray]]:
        """The class map of the labelled frame of each run that is taken.

        Raises:
            InputError: maps or flow are not of these frames and classes, or lack something; a saliency map
                is missing or malformed.
            DamagedEntryError, EntryMissingError: an entry is not as it was committed, or is gone.
        """
        if not self._chains(clip):
            return []
        maps = ClipMaps(clip, self.store.get("cams", key_of(self.cams, clip, "cams")), self.classes)
        scores = maps.scores()
        scores[:, BACKGROUND] = 0
        runs = self._runs(clip, scores)
        flow = None
        if runs and self._reads_flow(clip):
            entry = self.store.get("flow", key_of(self.flow, clip, "flow"))
            flow = ClipFlow(clip, entry, self.options["occlusion"], "proxy_labels.occlusion")
        return [(run.chain.target, self._label(clip, run, maps, flow)) for run in runs]

    def _chains(self, clip: Clip) -> list[Chain]:
        """What the clip has room for, and a tag at the labelled frame."""
        options = self.options
        found = chains(
            clip, frames=options["frames"], gap_frames=options["gap_frames"], target=options["target"]
        )
        return [chain for chain in found if self._tagged(clip, chain.target)]

    def _tagged(self, clip: Clip, position: int) -> frozenset[int]:
        return self.tags.of(clip.id, clip.frames[position].name) - {BACKGROUND}

    def _runs(self, clip: Clip, scores: np.ndarray) -> list[Run]:
        tau = self.options["tau"] if self.options["filter"] else None
        runs = confident_runs(self._chains(clip), scores, partial(self._tagged, clip), tau=tau)
        return best_runs(runs, self.options["runs_per_clip"])

    def _reads_flow(self, clip: Clip) -> bool:
        return any(chain.pairs or self._moving(clip, chain.target) for chain in self._chains(clip))

    def _moving(self, clip: Clip, target: int) -> tuple[int, int] | None:
        """The pair whose flow tells the background of a frame; None if no flow does, or there is none."""
        if self.options["background"] != "motion":
            return None
        before = clip.frames[target].number - self.options["gap_frames"]
        return next(((target, t) for t, frame in enumerate(clip.frames) if frame.number == before), None)

    def _label(self, clip: Clip, run: Run, maps: ClipMaps, flow: ClipFlow | None) -> np.ndarray:
        options, target = self.options, run.chain.target
        legs = [_leg(leg, run.class_ids, maps, flow) for leg in run.chain.legs]
        how, threshold, binarise = options["aggregate"], options["threshold"], options["binarise"]
        gathered = gather_legs(legs, how, threshold=threshold, binarise=binarise)
        # the values of a union, for background and conflicts, are the maximum of the maps
        valued = gather_legs(legs, "maximum", threshold=threshold) if how == "union" else gathered
        levels, values = (
            to_grid(each.levels[None], clip.size, maps.stride_px, 1)[0] for each in (gathered, valued)
        )
        return class_map(
            (levels > gathered.cut).numpy(),
            values.numpy(),
            run.class_ids,
            self._background(clip, target, values, flow),
            conflict=options["conflict"],
        )

    def _background(self, clip: Clip, target: int, values: Tensor, flow: ClipFlow | None) -> np.ndarray:
        """(H, W) bool. Nothing is known of the motion of a frame without an earlier one."""
        threshold = self.options["background_threshold"]
        if self.saliency:
            return self.saliency.low(clip, target, threshold)
        if self.options["background"] != "motion":
            return low_values(values, threshold)
        pair = self._moving(clip, target)
        if not pair or not flow:
            return np.zeros(clip.size, bool)
        return with_the_camera(flow.between(*pair, 1)[0][0].numpy(), threshold)


def options_that_count(options: ProxyLabelsSection) -> dict[str, Any]:
    """The options of the section that decide on a label, for its key. 1 and 1.0 are one."""
    shares = ["threshold", "background_threshold", *(["tau"] if options["filter"] else [])]
    names = ["frames", "gap_frames", "background", "filter", "runs_per_clip", "conflict"]
    if options["frames"] > 1:
        names += ["target", "aggregate", "occlusion"]
        names += ["binarise"] if options["aggregate"] == "union" else []
    counting: Mapping[str, Any] = options
    return {**{name: counting[name] for name in names}, **{name: float(counting[name]) for name in shares}}


def _leg(positions: Sequence[int], class_ids: Sequence[int], maps: ClipMaps, flow: ClipFlow | None) -> Leg:
    """The maps of a way to the labelled frame, and the flow along it."""
    flows, held = [], []
    for before, now in pairwise(positions):
        assert flow is not None, "a chain of several frames reads the flow"
        found, valid = flow.between(now, before, maps.stride_px)
        flows.append(found[0])
        held.append(valid[0, 0])
    return Leg([maps.of(t, class_ids) for t in positions], flows, held)
