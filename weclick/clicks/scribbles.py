"""Scribbles: from the points of a line to the pixels that it covers, and what is left where lines cross."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from skimage.draw import line

from weclick.common.errors import InputError
from weclick.common.spread import spread_over
from weclick.manifest.people import Origin

LENGTH_PX = 100_000
"""A longer line is none that a person drew."""

PIXELS = 1000
"""At most so many pixels of a scribble are learned from, evenly spaced along it: they count as one click."""


class Placed(NamedTuple):
    """A click, or a pixel of a scribble, on a frame as it is read.

    Attributes:
        class_id, y, x: its class, and its pixel.
        origin: who made it.
        scribble: number of the frame's scribble that it is of, from 1 on; 0 for a click.
    """

    class_id: int
    y: int
    x: int
    origin: Origin
    scribble: int


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


def uncrossed(placed: Sequence[Placed]) -> list[Placed]:
    """What is left of a frame's clicks and scribbles once each pixel has one class.

    A click wins over a scribble of another class: somebody pointed at that very pixel, while a line only
    passes it. Where scribbles of different classes cross, the pixel is of neither. Clicks all stay.

    Returns:
        In the given order. A scribble of which nothing is left is gone, and the others are counted anew.
    """
    classes: dict[tuple[int, int], set[int]] = {}
    for each in placed:
        classes.setdefault((each.y, each.x), set()).add(each.class_id)
    left = [each for each in placed if not each.scribble or len(classes[each.y, each.x]) == 1]
    number = {0: 0, **{old: new for new, old in enumerate(scribbles_of(left), 1)}}
    return [each._replace(scribble=number[each.scribble]) for each in left]


def middles(placed: Sequence[Placed]) -> list[Placed]:
    """The clicks, and of each scribble the pixel in its middle."""
    lines = ([each for each in placed if each.scribble == number] for number in scribbles_of(placed))
    return [*(each for each in placed if not each.scribble), *(line[len(line) // 2] for line in lines)]


def scribbles_of(placed: Iterable[Placed]) -> list[int]:
    """The numbers of the scribbles, in order."""
    return sorted({each.scribble for each in placed} - {0})
