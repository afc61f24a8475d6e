"""The cached class maps of a clip, stronger where something moves (Liu et al., CVPR 2021, "f-CAM").

These maps are a function of cached maps and cached flow, so nobody stores them. Confident labels and
instances read them here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.manifest import Classes, Clip
from weclick.manifest.needs import step
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.amplification import amplify
from weclick.proxy_labels.clip_flow import ClipFlow
from weclick.proxy_labels.clip_maps import ClipMaps
from weclick.proxy_labels.proxy_sources import key_of
from weclick.store import Store

STILL = "none"
"""`fcam.motion` of maps that stay as they are."""

VERSION = 1
"""Of what is computed here. It rises when the same inputs would give other maps."""


@dataclass(frozen=True)
class MapSource:
    """Where the maps of clips come from.

    Attributes:
        classes: of the data set.
        tags: the classes that occur in frames or clips.
        cams: clip id -> key of its maps.
        flow: clip id -> key of its flow of the need `step`. Not read if `fcam.motion` is none.
        fcam: the section `fcam`.
        store: holds both.
    """

    classes: Classes
    tags: TagTable
    cams: Mapping[str, str]
    flow: Mapping[str, str]
    fcam: Mapping[str, Any]
    store: Store

    def shown(self, clip: Clip, position: int) -> list[int]:
        """Ids of the classes with instances among the tags of a frame."""
        frame = clip.frames[position]
        return sorted(self.tags.of(clip.id, frame.name) & {*classes_with_instances(self.classes)})

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The maps, the flow if it is read, the tags, and the options that count. 1 and 1.0 are one.

        Raises:
            InputError: the clip has no maps, or no flow.
        """
        shown = [self.shown(clip, t) for t in range(len(clip.frames))]
        if not any(shown):
            return {"maps": None}
        made_from = {"cams": key_of(self.cams, clip, "cams"), "tags": shown}
        if self.fcam["motion"] == STILL:
            return {"maps": {**made_from, "fcam": None}}
        fcam: dict[str, Any] = {
            "version": VERSION,
            "motion": self.fcam["motion"],
            **{name: float(self.fcam[name]) for name in ("factor", "percentile")},
            "next": [list(pair) for pair in step(clip)],
        }
        if step(clip):
            fcam["flow"] = key_of(self.flow, clip, "flow")
        return {"maps": {**made_from, "fcam": fcam}}

    def of_clip(self, clip: Clip) -> AmplifiedMaps:
        """The maps of a clip.

        Raises:
            InputError: maps or flow are not of these frames and classes, or the clip has none.
            DamagedEntryError, EntryMissingError: an entry is not as it was committed, or is gone.
        """
        entry = self.store.get("cams", key_of(self.cams, clip, "cams"))
        maps = ClipMaps(clip, entry, self.classes.names)
        flow = None
        if self.fcam["motion"] != STILL and step(clip):
            key = key_of(self.flow, clip, "flow")
            flow = ClipFlow(clip, self.store.get("flow", key), "none", "fcam.motion")
        return AmplifiedMaps(clip, maps, flow, self.fcam)


@dataclass(frozen=True)
class AmplifiedMaps:
    """The maps of one clip. See `MapSource.of_clip`.

    Attributes:
        clip: whose frames they are of.
        maps: as they are stored.
        flow: of the need `step`; None if none is read.
        fcam: the section `fcam`.
    """

    clip: Clip
    maps: ClipMaps
    flow: ClipFlow | None
    fcam: Mapping[str, Any]

    @property
    def stride_px(self) -> int:
        """Image pixels per cell of the maps."""
        return self.maps.stride_px

    def of(self, position: int, class_ids: Sequence[int]) -> Tensor:
        """The maps of some classes in a frame.

        Where a frame moves fast they are multiplied by `fcam.factor`, and neither normalised nor clipped
        afterwards (Liu et al. 2021). Those of a frame that no other one follows stay as they are.

        Returns:
            (C, h, w) float32, at least 0, on the grid of `stride_px`.

        Raises:
            InputError: the entry has no map of a class, or the flow of the frame is missing.
        """
        lacking = [self.maps.classes[k] for k in class_ids if k not in self.maps.class_ids]
        if lacking:
            raise InputError(
                f"{self.maps.entry.path}: has no map of {', '.join(lacking)}, a tag of clip "
                f"{self.clip.id!r}; the tags changed since: run the cams stage again"
            )
        maps = self.maps.of(position, class_ids)
        if self.flow is None or position not in self._next:
            return maps
        flow, _ = self.flow.between(position, self._next[position], self.stride_px)
        shares = {name: float(self.fcam[name]) for name in ("factor", "percentile")}
        amplified: Tensor = amplify(maps, flow[0].to(torch.float32), motion=self.fcam["motion"], **shares)
        return amplified

    @cached_property
    def _next(self) -> Mapping[int, int]:
        """Position of a frame -> that of the next frame of the video."""
        return dict(step(self.clip))


def classes_with_instances(classes: Classes) -> tuple[int, ...]:
    """Ids of the classes whose objects are told apart: those the data set names, else all but background."""
    ids = classes.instance_classes or range(int(classes.has_background), len(classes.names))
    return tuple(sorted(ids))
