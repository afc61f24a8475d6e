"""Masks as run-length codes of COCO. Codes that others wrote are bounded before anything decodes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from pycocotools import mask as coco_mask

from weclick.common.errors import InputError

Rle = dict[str, Any]
"""`size` [H, W] and `counts`, bytes of COCO's compressed code. It runs down the columns."""

_DIGITS = 7
"""Signs of the longest count that fits 32 bits, 5 bits a sign."""

_FAR = 1e9
"""No coordinate is as large."""

_LONGEST_PX = 2**20
"""All edges of a mask's polygons together. pycocotools takes about 100 bytes for each px of an edge."""


def encoded(masks: np.ndarray) -> list[Rle]:
    """The codes of masks (N, H, W) bool."""
    if not len(masks):
        return []
    return coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))


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
        return _from_runs(segmentation, size, where)
    if isinstance(segmentation, list) and segmentation:
        return _from_polygons(segmentation, size, where)
    return _refuse(where, f"it is {_short(segmentation)}", "run lengths {size, counts}, or polygons")


def _from_runs(runs: Mapping[str, Any], size: tuple[int, int], where: str) -> Rle:
    height, width = size
    if runs.get("size") != [height, width] and runs.get("size") != (height, width):
        _refuse(where, f"its size is {_short(runs.get('size'))}", f"[{height}, {width}], as the image has")
    counts, pixels = runs.get("counts"), height * width
    if isinstance(counts, str):
        counts = counts.encode("utf-8", "surrogatepass")
    if isinstance(counts, bytes):
        _check_filled(_lengths(counts, pixels, where), pixels, where)
        return {"size": [height, width], "counts": counts}
    if not isinstance(counts, list) or any(type(count) is not int for count in counts):
        _refuse(where, f"its counts are {_short(counts)}", "a text, or a list of whole numbers")
    if len(counts) > pixels + 1 or any(not 0 <= count <= pixels for count in counts):
        _refuse(where, "its counts are too many, negative or too long", f"runs within {pixels} pixels")
    _check_filled(np.array(counts, np.int64), pixels, where)
    return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def _lengths(counts: bytes, pixels: int, where: str) -> np.ndarray:
    """The run lengths of a compressed code.

    A sign holds five bits, the lowest first; its sixth bit says that more follow. From the fourth count on,
    each is the difference to the one before the last.
    """
    if not counts or len(counts) > _DIGITS * (pixels + 1):
        _refuse(where, f"its counts have {len(counts)} signs", f"1 to {_DIGITS} for each run")
    signs = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    last = (signs & 32) == 0
    ends = np.flatnonzero(last)
    if signs.min() < 0 or signs.max() > 63 or not last[-1]:
        _refuse(where, f"its counts are {_short(counts)}", "COCO's compressed code")
    starts = np.append(0, ends[:-1] + 1)
    digits = ends - starts + 1
    if digits.max() > _DIGITS:
        _refuse(where, f"one of its counts has {digits.max()} signs", f"at most {_DIGITS}")
    place = np.arange(len(signs)) - np.repeat(starts, digits)
    lengths = np.add.reduceat((signs & 31) << 5 * place, starts)
    lengths -= np.where(signs[ends] & 16, 1 << 5 * digits, 0)
    lengths[1::2] = lengths[1::2].cumsum()
    lengths[2::2] = lengths[2::2].cumsum()
    return lengths


def _check_filled(lengths: np.ndarray, pixels: int, where: str) -> None:
    if lengths.min(initial=0) < 0 or lengths.sum() != pixels:
        told = f"its runs, the shortest of {lengths.min(initial=0)}, have {lengths.sum()} pixels in all"
        _refuse(where, told, f"{pixels}, as the image has, and no negative run")


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
    return coco_mask.merge(coco_mask.frPyObjects([list(polygon) for polygon in polygons], height, width))


def _numbers(polygon: Any) -> bool:
    known = isinstance(polygon, Sequence) and not isinstance(polygon, str | bytes)
    return known and all(type(value) in (int, float) and abs(value) < _FAR for value in polygon)


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:60]}..."


def _refuse(where: str, found: str, expected: str) -> NoReturn:
    raise InputError(f"{where}: the mask cannot be read: {found}; expected {expected}; write the file again")
