"""Clicks of a split, as training reads them. `weclick.clicks.table` writes them down and reads them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weclick.manifest.clips import IGNORE

POINT = np.dtype([("y", "<i4"), ("x", "<i4"), ("class_id", "u1"), ("area", "<i4")])
"""A click: pixel (y, x) counted from 0, class id, and area of the clicked object in px (0: not known)."""


@dataclass(frozen=True)
class ClickTable:
    """Clicks and scribbles of one split. A scribble is its pixels, which share the weight of one click.

    Attributes:
        split: e.g. train.
        classes: names; the position is the class id.
        frames: (clip id, frame name) -> (N,) array of dtype POINT. Frames without a click are left out.
        options: how the clicks were made.
        seed: of the random points.
        ignore: label value without class.
        scribbles: (clip id, frame name) -> (N,) int32, the scribble that each point of the frame is of, from
            1 on; 0 for a click. Frames without a scribble are left out.
    """

    split: str
    classes: tuple[str, ...]
    frames: Mapping[tuple[str, str], np.ndarray]
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    ignore: int = IGNORE
    scribbles: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def of(self, clip: str, frame: str) -> np.ndarray:
        """(N,) clicks of a frame, dtype POINT; empty where the frame has none."""
        return self.frames.get((clip, frame), np.empty(0, POINT))

    def weights(self, clip: str, frame: str) -> np.ndarray | None:
        """(N,) float32, what each point of a frame counts: a scribble's 1 together. None: all count 1."""
        numbers = self.scribbles.get((clip, frame))
        if numbers is None:
            return None
        lengths = np.bincount(numbers)
        lengths[:1] = 1
        return (1 / lengths[numbers]).astype(np.float32)

    def class_ids(self, clip: str, frame: str) -> np.ndarray:
        """(M,) uint8, the class of each click and of each scribble of a frame."""
        ids, numbers = self.of(clip, frame)["class_id"], self.scribbles.get((clip, frame))
        if numbers is None:
            return ids
        known, first = np.unique(numbers, return_index=True)
        return np.concatenate([ids[numbers == 0], ids[first[known > 0]]])

    def __len__(self) -> int:
        """Number of clicks and scribbles."""
        return sum(len(self.class_ids(*name)) for name in self.frames)

    def counts(self) -> np.ndarray:
        """(K,) number of clicks and scribbles of each class."""
        ids = [self.class_ids(*name) for name in self.frames]
        return np.bincount(np.concatenate([np.empty(0, np.uint8), *ids]), minlength=len(self.classes))
