"""Masks in a person's place: the class of a pixel, and where a person would click the objects of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from weclick.clicks import clicks_from_labels
from weclick.manifest import IGNORE
from weclick.runs.click_bench.pool import Shot


class Oracle:
    """Answers by the masks of a pool.

    Args:
        shots: the pool.
        instance_classes: as in `clicks_from_labels`.
        seed: of the draws.
        shuffled: permute the answers of all pixels of the pool. Then answers have the same frequencies, but
            say nothing of what is there, and no choice of places can be worth more than another one.
    """

    def __init__(
        self, shots: Sequence[Shot], instance_classes: Sequence[int], seed: int, *, shuffled: bool
    ) -> None:
        self._shots, self._instance_classes, self._seed = shots, instance_classes, seed
        self._answers = [shot.label for shot in shots]
        if shuffled:
            every = np.concatenate([shot.label.ravel() for shot in shots])
            np.random.default_rng((seed, 1)).shuffle(every)
            ends = np.cumsum([shot.label.size for shot in shots])[:-1]
            parts = np.split(every, ends)
            self._answers = [part.reshape(shot.size) for part, shot in zip(parts, shots, strict=True)]

    def answer(self, frame: int, y: int, x: int) -> int:
        """The class of a pixel, or IGNORE where nobody can tell."""
        return int(self._answers[frame][y, x])

    def objects(
        self, frame: int, *, point: Literal["centroid", "random"], min_pixels: int
    ) -> list[tuple[int, int]]:
        """Pixels [y, x], one on each object of a frame, as the stage `clicks` puts them."""
        shot = self._shots[frame]
        found = clicks_from_labels(
            shot.label,
            instances=shot.instances,
            instance_classes=self._instance_classes,
            min_pixels=min_pixels,
            ignore=IGNORE,
            seed=int(np.random.default_rng((self._seed, frame)).integers(2**32)),
            point=point,
        )
        return [(int(each["y"]), int(each["x"])) for each in found]
