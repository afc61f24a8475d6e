"""A mask as a COCO file writes it, by a run-length code or by outlines, as one kind of code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from weclick.common.errors import InputError
from weclick.common.rle import Rle, check_size, checked

MAX_OUTLINE_PX = 2**20
"""How long the outlines of a mask are together at most. Their pixels are listed before they are filled."""


def read_segmentation(segmentation: Any, size: Sequence[int], where: str) -> Rle:
    """The code of a mask.

    Args:
        segmentation: a run-length code, or a list of outlines x, y, x, y, ... in px, which are filled.
        size: (H, W) of the frame.
        where: it comes from, for errors.

    Raises:
        InputError: it is neither, is of another size, or outlines leave the frame far behind.
    """
    if isinstance(segmentation, Mapping):
        return checked(segmentation, size, where)
    check_size(size, where)
    outlines = _corners(segmentation, where)
    _check_bounds(outlines, size, where)
    codes = coco.frPyObjects([outline.ravel().tolist() for outline in outlines], *size)
    merged = coco.merge(codes)
    return {"size": [*size], "counts": merged["counts"].decode("ascii")}


def _corners(outlines: Any, where: str) -> list[np.ndarray]:
    """(N, 2) x, y of each outline."""
    if not isinstance(outlines, list) or not outlines:
        raise InputError(
            f"{where}: has no mask, expected a run-length code or outlines; a box alone is no mask: take the "
            "annotation out of the file"
        )
    found = []
    for outline in outlines:
        try:
            points = np.array(outline, np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{where}: an outline is {str(outline)[:80]}, expected numbers x, y, x, y, ..."
            ) from error
        if len(points) < 3:
            raise InputError(f"{where}: an outline has {len(points)} points, expected three or more")
        found.append(points)
    return found


def _check_bounds(outlines: Sequence[np.ndarray], size: Sequence[int], where: str) -> None:
    frame = np.array([size[1], size[0]])
    for points in outlines:
        inside = (points >= -frame) & (points <= 2 * frame)  # false for what is no number, too
        if not inside.all():
            x, y = points[~inside.all(1)][0]
            raise InputError(
                f"{where}: an outline has a point at x {x:g}, y {y:g}, far outside the frame of {size[0]} x "
                f"{size[1]} px; correct the outline, or the size of its frame"
            )
    steps = (np.abs(points - np.roll(points, 1, 0)).max(1) + 1 for points in outlines)
    length = sum(float(each.sum()) for each in steps)
    if length > MAX_OUTLINE_PX:
        raise InputError(
            f"{where}: its outlines are {length:.0f} px long, expected at most {MAX_OUTLINE_PX}; write the "
            "mask as a run-length code"
        )
