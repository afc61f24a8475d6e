"""Scribbles: from the points along a line to the pixels that it covers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from skimage.draw import line

from weclick.common.errors import InputError
from weclick.common.spread import spread_over

LENGTH_PX = 100_000
"""A longer line is none that a person drew."""

PIXELS = 1000
"""At most so many pixels of a scribble are learned from, evenly spaced along it: they count as one click."""


def scribble_pixels(points: Sequence[tuple[int, int]], where: str) -> np.ndarray:
    """The pixels along a line through some points, each once, in the order of the line.

    Args:
        points: (y, x) px, at least two.
        where: names the scribble in errors.

    Returns:
        (N, 2) int64 of (y, x), N from 1 to PIXELS.

    Raises:
        InputError: the line is longer than LENGTH_PX.

    Example:
        >>> scribble_pixels([(0, 0), (1, 2), (1, 1)], "a scribble").tolist()
        [[0, 0], [0, 1], [1, 2], [1, 1]]
    """
    length = sum(max(abs(b[0] - a[0]), abs(b[1] - a[1])) for a, b in pairwise(points))
    if length > LENGTH_PX:
        raise InputError(
            f"{where}: its scribble is {length} px long, expected at most {LENGTH_PX}; draw a shorter one"
        )
    parts = [np.stack(line(*a, *b), 1) for a, b in pairwise(points)]
    pixels = np.concatenate(parts).astype(np.int64)
    first = np.sort(np.unique(pixels, axis=0, return_index=True)[1])
    return pixels[spread_over(first.tolist(), PIXELS)]
