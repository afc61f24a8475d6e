"""The cached maps and scores of a classifier on the frames of one clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.geometry import grid_size
from weclick.manifest import Clip
from weclick.manifest.clips import has_background
from weclick.proxy_labels.cams import read_maps
from weclick.store import Entry, check_attributes, damaged


@dataclass(frozen=True)
class ClipMaps:
    """Reads an entry of the kind "cams".

    Attributes:
        clip: whose frames it is of.
        entry: holds `maps` (T, C, h, w) uint8, each relative to its maximum, and `scores` (T, K) float32.
        classes: names of the data set's K classes.

    Raises:
        DamagedEntryError: the entry's attributes and arrays do not fit each other and the clip.
        InputError: it is of other frames, or of other classes.
    """

    clip: Clip
    entry: Entry
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        check_attributes(self.entry)
        told = self.entry.attributes
        if self.entry.meta["inputs"].get("frames") != [frame.digest for frame in self.clip.frames]:
            raise InputError(
                f"{self.entry.path}: holds maps of other frames than those of clip {self.clip.id!r}; the "
                "index belongs to another manifest: run the cams stage again"
            )
        if tuple(told["classes"]) != self.classes:
            raise InputError(
                f"{self.entry.path}: holds maps of the classes {', '.join(told['classes'])}, but the data "
                f"set has {', '.join(self.classes)}; run the cams stage again"
            )
        frames = len(self.clip.frames)
        expected = {
            "maps": (frames, len(told["class_ids"]), *grid_size(self.clip.size, told["stride_px"])),
            "scores": (frames, len(self.classes)),
        }
        for name, shape in expected.items():
            if (found := self.entry.array(name).shape) != shape:
                raise damaged(self.entry.path, f"{name} is of shape {found}, expected {shape}")

    @property
    def stride_px(self) -> int:
        """Image pixels per cell of the maps."""
        return int(self.entry.attributes["stride_px"])

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Of the maps that the entry holds."""
        return tuple(self.entry.attributes["class_ids"])

    def scores(self) -> np.ndarray:
        """(T, K) float32 in 0..1. That of a background is 0: no classifier tells it."""
        array = self.entry.array("scores")
        found = np.stack([array[t] for t in range(len(array))])
        if has_background(self.classes):
            found[:, 0] = 0
        return found

    def of(self, position: int, class_ids: Sequence[int]) -> Tensor:
        """The maps of some classes in a frame, (C, h, w) float32, each over its own maximum.

        Raises:
            InputError: the entry has no map of a class.
        """
        held = self.class_ids
        missing = [self.classes[k] for k in class_ids if k not in held]
        if missing:
            raise InputError(
                f"{self.entry.path}: has no map of {', '.join(missing)}, which is to be labelled in clip "
                f"{self.clip.id!r}; it keeps those of tagged classes and of scores above cams.min_score: set "
                "that no higher than proxy_labels.tau, and run the cams stage again"
            )
        maps, _ = read_maps(self.entry, position)
        return torch.from_numpy(maps[[held.index(k) for k in class_ids]])
