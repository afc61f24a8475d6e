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
    """Clicks of one split.

    Attributes:
        split: e.g. train.
        classes: names; the position is the class id.
        frames: (clip id, frame name) -> (N,) array of dtype POINT. Frames without a click are left out.
        options: how the clicks were made.
        seed: of the random points.
        ignore: label value without class.
    """

    split: str
    classes: tuple[str, ...]
    frames: Mapping[tuple[str, str], np.ndarray]
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    ignore: int = IGNORE

    def of(self, clip: str, frame: str) -> np.ndarray:
        """(N,) clicks of a frame, dtype POINT; empty where the frame has none."""
        return self.frames.get((clip, frame), np.empty(0, POINT))

    def __len__(self) -> int:
        return sum(len(points) for points in self.frames.values())

    def counts(self) -> np.ndarray:
        """(K,) number of clicks of each class."""
        ids = [points["class_id"] for points in self.frames.values()]
        return np.bincount(np.concatenate([np.empty(0, np.uint8), *ids]), minlength=len(self.classes))
