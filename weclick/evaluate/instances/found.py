"""Instances of one frame as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from weclick.common.errors import InputError


class Instances(NamedTuple):
    """What was found, or what is there, in one frame.

    Attributes:
        masks: (N, H, W) bool. They may overlap.
        classes: (N,) int64 class ids.
        scores: (N,) float64, higher is surer.
    """

    masks: np.ndarray
    classes: np.ndarray
    scores: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) px."""
        return self.masks.shape[1], self.masks.shape[2]

    def chosen(self, which: np.ndarray) -> Instances:
        """Those of some positions, or where (N,) bool says so."""
        return Instances(self.masks[which], self.classes[which], self.scores[which])


def instances(given: Sequence[Any], where: str, size: tuple[int, int] | None = None) -> Instances:
    """Masks, classes and scores as arrays that fit each other.

    Args:
        given: masks (N, H, W) bool, classes (N,) integer, scores (N,); numpy or torch.
        where: their place, for errors.
        size: (H, W) that the masks must have; any if None.

    Raises:
        InputError: shapes or types do not fit, or a score is not finite.
    """
    if len(given) != 3:
        raise InputError(f"{where}: {len(given)} arrays, expected masks, classes and scores of the instances")
    masks, classes, scores = map(as_array, given)
    if masks.ndim != 3 or masks.dtype != bool or (size is not None and masks.shape[1:] != tuple(size)):
        wanted = "(N, H, W)" if size is None else f"(N, {size[0]}, {size[1]})"
        raise InputError(f"{where}: masks are {masks.shape} {masks.dtype}, expected {wanted} bool")
    if classes.shape != masks.shape[:1] or scores.shape != masks.shape[:1]:
        raise InputError(
            f"{where}: {len(masks)} masks, classes {classes.shape} and scores {scores.shape}; expected a "
            "class and a score for each mask"
        )
    if len(classes) and not np.issubdtype(classes.dtype, np.integer):
        raise InputError(f"{where}: classes are {classes.dtype}, expected integer class ids")
    if not np.isfinite(scores).all():
        strange = scores[~np.isfinite(scores)]
        raise InputError(
            f"{where}: {len(strange)} of {len(scores)} scores are not finite, {strange[0]} first; leave "
            "these instances out, or look whether the network that gave them has diverged"
        )
    return Instances(masks, classes.astype(np.int64), scores.astype(np.float64))


def as_array(values: Any) -> np.ndarray:
    """What numpy or torch holds, on any device, as numpy."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
