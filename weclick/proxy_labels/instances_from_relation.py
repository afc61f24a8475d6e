"""Instances from maps of classes and a network of relations (Ahn et al. 2019; Liu et al. 2021, "flowIRN")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from weclick.common.errors import InputError
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.amplified_maps import AmplifiedMaps, MapSource
from weclick.proxy_labels.centres import group
from weclick.proxy_labels.detecting import STRIDE_PX, detections
from weclick.proxy_labels.grids import to_grid
from weclick.proxy_labels.relations import Relations
from weclick.store import Store
from weclick.store.instance_entries import FrameInstances, no_instances

VERSION = 1
"""Of what is computed here. It rises when the same inputs would give other instances."""


@dataclass(frozen=True)
class FromRelation:
    """Groups the maps of a frame's tags into objects. See `InstanceSource`.

    Attributes:
        manifest: of the clips.
        options: the section `instances`.
        fcam: the section `fcam`.
        tags: of the split.
        cams: clip id -> key of its maps.
        flow: clip id -> key of its flow of the need `step`; not read if `fcam.motion` is none.
        relation: the network's model.safetensors.
        store: holds maps and flow.
        device: that the network computes on.

    Raises:
        MissingFileError: there is no such network, when its digest or its answer is asked for.
    """

    manifest: Manifest
    options: Mapping[str, Any]
    fcam: Mapping[str, Any]
    tags: TagTable
    cams: Mapping[str, str]
    flow: Mapping[str, str]
    relation: Path
    store: Store
    device: str = "cpu"

    name = "relation"

    @cached_property
    def _maps(self) -> MapSource:
        classes = self.manifest.classes
        return MapSource(classes, self.tags, self.cams, self.flow, self.fcam, self.store)

    @cached_property
    def _relations(self) -> Relations:
        return Relations(self.relation, self.manifest.classes.names, self.device)

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The network's digest, the maps with flow and tags, and the options that count.

        Raises:
            InputError: the clip has no maps, or no flow.
        """
        maps = self._maps.key_inputs(clip)
        if maps["maps"] is None:  # nothing to be found
            return maps
        numbers = ("background", "weak_px", "min_share", "min_score")
        return {
            **maps,
            "version": VERSION,
            "relation_sha256": self._relations.sha256,
            "normalise": self.options["normalise"],
            **{name: float(self.options[name]) for name in numbers},
            **walk_inputs(self.options),
        }

    def make(self, clip: Clip) -> Iterator[FrameInstances]:
        """The objects of each frame: those of its tags. A frame without a tag has none.

        Raises:
            InputError: the network is none of relations, of other classes, or has diverged; maps or flow are
                not of these frames; or a frame has more objects than fit into memory.
            DamagedEntryError, EntryMissingError: an entry is not as it was committed, or is gone.
        """
        shown = [self._maps.shown(clip, t) for t in range(len(clip.frames))]
        if not any(shown):
            yield from (no_instances(clip.size) for _ in shown)
            return
        maps = self._maps.of_clip(clip)
        for position, (class_ids, image) in enumerate(
            zip(shown, read_clip(self.manifest, clip), strict=True)
        ):
            yield self._objects(maps, position, class_ids, image) if class_ids else no_instances(clip.size)

    def _objects(
        self, maps: AmplifiedMaps, position: int, class_ids: list[int], image: np.ndarray
    ) -> FrameInstances:
        options, size = self.options, maps.clip.size
        levels = to_grid(maps.of(position, class_ids)[None], size, maps.stride_px, STRIDE_PX)[0]
        if not levels.any():
            return no_instances(size)
        related = self._relations.of(image)
        try:
            clusters = group(related.displacement, weak_px=float(options["weak_px"]))
            masks, classes, scores = detections(
                levels.numpy(),
                clusters.numpy(),
                related.edge.numpy(),
                size,
                background=float(options["background"]),
                min_share=float(options["min_share"]),
                normalise=options["normalise"],
                **walk_inputs(options),
            )
        except InputError as error:
            frame = maps.clip.frames[position].name
            raise InputError(f"frame {frame!r} of clip {maps.clip.id!r}: {error}") from error
        kept = scores >= options["min_score"]
        ids = np.array(class_ids, np.int64)[classes]
        return FrameInstances(masks[kept], ids[kept], scores[kept].astype(np.float32))


def walk_inputs(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the random walk, of the section `instances`. 1 and 1.0 are one."""
    beta = float(options["beta"])
    return {"radius": int(options["radius"]), "beta": beta, "exp_times": int(options["exp_times"])}
