"""Masks as COCO and YouTube-VIS files hold them: run-length codes, or polygons, which are bounded first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from pycocotools import mask as coco_mask

from weclick.common.errors import InputError
from weclick.common.rle import Rle, as_text, checked

_FAR = 1e9
"""No coordinate is as large."""

_LONGEST_PX = 2**20
"""All edges of a mask's polygons together. pycocotools takes about 100 bytes for each px of an edge."""


def checked_rle(segmentation: Any, size: tuple[int, int], where: str) -> Rle:
    """The code of a mask as COCO and YouTube-VIS files hold it.

    Args:
        segmentation: run lengths {size, counts} with compressed (text) or plain (list) counts, or polygons
            [[x, y, x, y, ...], ...] in px.
        size: (H, W) of the image.
        where: the mask's place, for errors.

    Raises:
        InputError: it is none of these, is of another size, or its runs do not fill the image.
    """
    if isinstance(segmentation, Mapping):
        return checked(segmentation, size, where)
    if isinstance(segmentation, list) and segmentation:
        return _from_polygons(segmentation, size, where)
    return _refuse(where, f"it is {_short(segmentation)}", "run lengths {size, counts}, or polygons")


def _from_polygons(polygons: list[Any], size: tuple[int, int], where: str) -> Rle:
    """The union of polygons. Their points may lie outside the image, but by no more than its size."""
    height, width = size
    length = 0.0
    for polygon in polygons:
        points = np.asarray(polygon, np.float64) if _numbers(polygon) else np.empty(0)
        if len(points) < 6 or len(points) % 2:
            _refuse(where, f"a polygon is {_short(polygon)}", "a list [x, y, ...] of at least three points")
        across, down = np.abs(points[::2] - width / 2), np.abs(points[1::2] - height / 2)
        if not (across.max() <= 1.5 * width and down.max() <= 1.5 * height):
            _refuse(where, "a polygon lies far outside the image", f"points in px of {height} x {width}")
        length += sum(np.abs(xs - np.roll(xs, 1)).sum() for xs in (points[::2], points[1::2]))
    if length > _LONGEST_PX:
        _refuse(where, f"its polygons have edges of {length:.0f} px", f"at most {_LONGEST_PX} in all")
    return as_text(
        coco_mask.merge(coco_mask.frPyObjects([list(polygon) for polygon in polygons], height, width))
    )


def _numbers(polygon: Any) -> bool:
    known = isinstance(polygon, Sequence) and not isinstance(polygon, str | bytes)
    return known and all(type(value) in (int, float) and abs(value) < _FAR for value in polygon)


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:60]}..."


def _refuse(where: str, found: str, expected: str) -> NoReturn:
    raise InputError(f"{where}: the mask cannot be read: {found}; expected {expected}; write the file again")
