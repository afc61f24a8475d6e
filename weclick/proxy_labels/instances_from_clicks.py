"""Instances from clicks on objects: a cell belongs to the click that random walks from it meet first.

Walks step as those of IRN (Ahn et al. 2019), between the edges that its network sees. That a walk ends at the
first of several seeds is Grady's (2006). Every click of a frame is a seed.

A background is larger than what its one click stands for, so by walks alone an object may take much of it.
Maps of classes do not tell objects apart, but they tell where their class ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.manifest import Clip, Manifest
from weclick.manifest.click_table import ClickTable
from weclick.manifest.read import read_clip
from weclick.proxy_labels.amplified_maps import AmplifiedMaps, MapSource, classes_with_instances
from weclick.proxy_labels.detecting import STRIDE_PX, strongest_map
from weclick.proxy_labels.grids import to_grid
from weclick.proxy_labels.instances_from_relation import walk_inputs
from weclick.proxy_labels.random_walk import first_met, walk
from weclick.proxy_labels.relations import Relations
from weclick.store.instance_entries import FrameInstances, no_instances

NOBODY = -1
"""In place of the number of a click or of a class."""

VERSION = 1
"""Of what is computed here. It rises when the same inputs would give other instances."""


@dataclass(frozen=True)
class FromClicks:
    """Makes one object of each click, and of each scribble. See `InstanceSource`.

    Attributes:
        manifest: of the clips.
        options: the section `instances`.
        clicks: of the split. Clicks on classes without instances make no object, but keep others from going
            there.
        relation: the network's model.safetensors.
        maps: an object stays where its class has the strongest map. Without maps it may reach over the frame.
        device: that the network computes on.

    Raises:
        MissingFileError: there is no such network, when its digest or its answer is asked for.
        InputError: clicks and manifest have different classes.
    """

    manifest: Manifest
    options: Mapping[str, Any]
    clicks: ClickTable
    relation: Path
    maps: MapSource | None = None
    device: str = "cpu"

    name = "clicks"

    def __post_init__(self) -> None:
        if self.clicks.classes != self.manifest.classes.names:
            raise InputError(
                f"the clicks are of the classes {', '.join(self.clicks.classes)}, but the data set has "
                f"{', '.join(self.manifest.classes.names)}; run the clicks stage again"
            )

    @cached_property
    def _relations(self) -> Relations:
        return Relations(self.relation, self.manifest.classes.names, self.device)

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The network's digest, the clicks, the maps that bound them, and the options that count.

        Raises:
            InputError: a click lies outside its frame; or the clip has no maps or no flow, which are read.
        """
        frames = [self._strokes(clip, t) for t in range(len(clip.frames))]
        ids = classes_with_instances(self.manifest.classes)
        if not any(class_id in ids for strokes in frames for class_id, _ in strokes):
            return {"clicks": None}
        return {
            "version": VERSION,
            "clicks": [[[class_id, at.tolist()] for class_id, at in strokes] for strokes in frames],
            "instance_classes": list(ids),
            "relation_sha256": self._relations.sha256,
            **walk_inputs(self.options),
            **(self._bounds(self.maps, clip) if self.maps else {}),
        }

    def _bounds(self, maps: MapSource, clip: Clip) -> Mapping[str, Any]:
        cut = {"background": float(self.options["background"]), "normalise": self.options["normalise"]}
        return {**maps.key_inputs(clip), **cut}

    def make(self, clip: Clip) -> Iterator[FrameInstances]:
        """The objects of each frame, in the order of its clicks, with the score 1.

        A pixel belongs to the click that walks from there most likely meet first. An object is the region of
        its click's pixels that touch at sides and reach the click. Of two clicks in one cell of 4 px the
        first one has it, and the other has no object.

        With maps, a pixel counts only where the map of the click's class is the strongest one and exceeds
        `background`, after a walk as in `detections`. A click outside of that has no object.

        Raises:
            InputError: the network is none of relations or of other classes; a click lies outside its frame;
                or maps or flow are not of these frames.
            DamagedEntryError, EntryMissingError: an entry is not as it was committed, or is gone.
        """
        ids = classes_with_instances(self.manifest.classes)
        shown = [self.maps.shown(clip, t) if self.maps else [] for t in range(len(clip.frames))]
        maps = self.maps.of_clip(clip) if self.maps and any(shown) else None
        for position, image in enumerate(read_clip(self.manifest, clip)):
            strokes = self._strokes(clip, position)
            if not any(class_id in ids for class_id, _ in strokes):
                yield no_instances(clip.size)
                continue
            edge = self._relations.of(image).edge
            owner = self._owners(strokes, edge, clip.size)
            if self.maps:
                class_of = np.array([class_id for class_id, _ in strokes] + [NOBODY])
                owner[class_of[owner] != self._class_map(maps, position, shown[position], edge)] = NOBODY
            yield _objects(owner, strokes, ids, clip.size)

    def _strokes(self, clip: Clip, position: int) -> list[tuple[int, np.ndarray]]:
        """Class id and pixels (P, 2), (y, x), of each click and then of each scribble of a frame."""
        place = clip.id, clip.frames[position].name
        points = self.clicks.of(*place)
        numbers = self.clicks.scribbles.get(place, np.zeros(len(points), np.int32))
        at = np.stack([points["y"], points["x"]], 1)
        if not ((at >= 0) & (at < clip.size)).all():
            raise InputError(
                f"a click on frame {place[1]!r} of clip {clip.id!r} lies outside of its {clip.height_px} x "
                f"{clip.width_px} px; the clicks belong to another manifest: run the clicks stage again"
            )
        single = [np.array([i]) for i in np.flatnonzero(numbers == 0)]
        drawn = [np.flatnonzero(numbers == n) for n in np.unique(numbers[numbers > 0])]
        return [(int(points["class_id"][which[0]]), at[which]) for which in (*single, *drawn)]

    def _owners(
        self, strokes: list[tuple[int, np.ndarray]], edge: Tensor, size: tuple[int, int]
    ) -> np.ndarray:
        """(H, W) the number of the click that each pixel belongs to; NOBODY where no walk meets one."""
        met = first_met(_cells(strokes, edge), edge, **walk_inputs(self.options))
        strongest, winner = strongest_map(met, size, "image")
        return winner.where(strongest > 0, NOBODY).numpy()

    def _class_map(
        self, maps: AmplifiedMaps | None, position: int, class_ids: list[int], edge: Tensor
    ) -> np.ndarray:
        """(H, W) the class whose map is the strongest; NOBODY where none exceeds the background."""
        if maps is None or not class_ids:
            return np.full((1, 1), NOBODY)
        size = maps.clip.size
        levels = to_grid(maps.of(position, class_ids)[None], size, maps.stride_px, STRIDE_PX)[0]
        walked = walk(levels, edge, **walk_inputs(self.options))
        strongest, winner = strongest_map(walked, size, self.options["normalise"])
        found = winner.where(strongest > self.options["background"], NOBODY).numpy()
        return np.array([*class_ids, NOBODY])[found]


def _objects(
    owner: np.ndarray, strokes: list[tuple[int, np.ndarray]], ids: tuple[int, ...], size: tuple[int, int]
) -> FrameInstances:
    """The region of each click on a class of `ids`, as far as it touches the click."""
    masks, classes = [], []
    for number, (class_id, at) in enumerate(strokes):
        if class_id in ids and (mask := _reached(owner == number, at)).any():
            masks.append(mask)
            classes.append(class_id)
    if not masks:
        return no_instances(size)
    return FrameInstances(np.stack(masks), np.array(classes, np.int64), np.ones(len(masks), np.float32))


def _cells(strokes: list[tuple[int, np.ndarray]], edge: Tensor) -> Tensor:
    """(N, h, w) bool, the cells of each click or scribble."""
    maps = torch.zeros(len(strokes), *edge.shape, dtype=torch.bool)
    for each, (_, at) in zip(maps, strokes, strict=True):
        cells = torch.from_numpy(at // STRIDE_PX).long()
        each[cells[:, 0], cells[:, 1]] = True
    return maps


def _reached(owned: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The regions of a mask (H, W) that hold one of the pixels (P, 2)."""
    regions = cc3d.connected_components(owned.astype(np.uint8), connectivity=4)
    numbers = np.unique(regions[at[:, 0], at[:, 1]])
    return np.isin(regions, numbers[numbers > 0])
