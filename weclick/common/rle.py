"""Masks as run-length codes, as COCO's files hold them.

A code lists the lengths of runs of pixels, column by column. Runs lie in turn outside and inside the mask.
The first one lies outside, perhaps with length 0. COCO packs the lengths into a text: each number in groups
of 5 bits, the lowest first, with a sign. From the fourth number on, the one two places before is subtracted.

A code from a file may claim anything. So its lengths are bounded by the frame's pixels before a mask is
allocated, and pycocotools sees checked codes alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from pycocotools import mask as coco

from weclick.common.errors import InputError
from weclick.common.words import count_bytes

MAX_PX = 2**27
"""Pixels of a frame at most."""

MAX_COUNTS = 2**24
"""Letters or numbers of a code at most. Noise on 4096 x 4096 px has half as many."""

MASK_BYTES = 2**31
"""Memory at most that masks take when they are decoded together."""

_GROUPS = 7  # of 5 bits and a sign: enough for MAX_PX, and too few to overflow below
_FIRST, _MORE, _BITS, _SIGN = 48, 32, 31, 16
_TODO = "write the file again, or leave this mask out"


class Rle(TypedDict):
    """A mask as COCO's files hold it.

    Attributes:
        size: [H, W] px.
        counts: the packed run lengths.
    """

    size: list[int]
    counts: str


def encode_masks(masks: Any) -> list[Rle]:
    """The codes of masks.

    Args:
        masks: (N, H, W) bool, numpy or torch.

    Raises:
        InputError: they have another shape or type.
    """
    found = np.asarray(masks.cpu() if hasattr(masks, "cpu") else masks)
    if found.ndim != 3 or found.dtype != bool:
        raise InputError(
            f"masks to encode are {found.dtype} of shape {found.shape}, expected bool of shape (N, H, W)"
        )
    check_size(found.shape[1:], "masks to encode")
    columns = np.asfortranarray(found.transpose(1, 2, 0).astype(np.uint8))
    return [as_text(code) for code in coco.encode(columns)]


def decode_mask(code: Mapping[str, Any], size: Sequence[int], where: str = "mask") -> np.ndarray:
    """(H, W) bool, the mask of a code.

    Args:
        code: of `size` [H, W] and `counts`, a text or a list of run lengths.
        size: (H, W) of the frame that it should be of.
        where: it comes from, for errors.

    Raises:
        InputError: it is no code of a mask of that size.
    """
    lengths = run_lengths(code, size, where)
    inside = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, lengths).reshape(size[1], size[0]).T)


def decode_masks(codes: Sequence[Mapping[str, Any]], size: Sequence[int], where: str = "masks") -> np.ndarray:
    """(N, H, W) bool, the masks of some codes, see `decode_mask`.

    Raises:
        InputError: one of them is no such code, or all masks together take more than MASK_BYTES.
    """
    check_size(size, where)
    needed = len(codes) * size[0] * size[1]
    if needed > MASK_BYTES:
        raise InputError(
            f"{where}: {len(codes)} masks of {size[0]} x {size[1]} px take {count_bytes(needed)}, at most "
            f"{count_bytes(MASK_BYTES)} are decoded; keep the best, or make frames smaller (data.shrink)"
        )
    masks = np.zeros((len(codes), *size), bool)
    for number, (mask, code) in enumerate(zip(masks, codes, strict=True)):
        mask[:] = decode_mask(code, size, f"{where}, mask {number}")
    return masks


def checked(code: Mapping[str, Any], size: Sequence[int], where: str = "mask") -> Rle:
    """A code with packed counts, after all checks of `decode_mask`: safe for pycocotools.

    Runs of length 0 are taken out, except for the first. With them pycocotools gives a mask that equals
    another one an IoU of 0, and an empty mask a huge box.

    Raises:
        InputError: as in `decode_mask`.
    """
    lengths = run_lengths(code, size, where)
    if isinstance(code["counts"], list) or not lengths[1:].all():
        runs = _without_empty(lengths)
        return as_text(coco.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size))
    return as_text(code)


def _without_empty(lengths: np.ndarray) -> np.ndarray:
    """The same mask without runs of length 0, except for the first run, which lies outside."""
    filled = lengths > 0
    inside, lengths = np.arange(len(lengths))[filled] % 2, lengths[filled]
    first = np.flatnonzero(np.diff(inside, prepend=-1))
    return np.append(np.zeros(inside[0], np.int64), np.add.reduceat(lengths, first))


def area_and_box(code: Rle) -> tuple[int, list[float]]:
    """Pixels of a checked code, and its box [x, y, width, height] in px."""
    return int(coco.area(code)), [float(side) for side in coco.toBbox(code)]


def run_lengths(code: Mapping[str, Any], size: Sequence[int], where: str = "mask") -> np.ndarray:
    """(R,) int64, the lengths of a code's runs: none is negative, and their sum is the frame's pixels.

    Args, Raises:
        As in `decode_mask`.
    """
    check_size(size, where)
    if not isinstance(code, Mapping) or not {"size", "counts"} <= code.keys():
        raise InputError(f"{where}: is no run-length code, expected an object of size and counts; {_TODO}")
    if not isinstance(code["size"], list | tuple) or [*code["size"]] != [*size]:
        raise InputError(
            f"{where}: its run-length code has the size {str(code['size'])[:80]}, expected {[*size]}, that "
            f"of the frame; {_TODO}"
        )
    try:
        lengths = _numbers(code["counts"], size[0] * size[1])
    except ValueError as error:
        raise InputError(f"{where}: its run-length code cannot be read: {error}; {_TODO}") from error
    return lengths


def check_size(size: Sequence[int], where: str) -> None:
    """Check that a frame of (H, W) px is neither empty nor too large.

    Raises:
        InputError: it is.
    """
    if min(size) < 1 or size[0] * size[1] > MAX_PX:
        raise InputError(
            f"{where}: the frame has {size[0]} x {size[1]} px, expected 1 to {MAX_PX} px; correct its size"
        )


def _numbers(counts: Any, pixels: int) -> np.ndarray:
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    if not isinstance(counts, str | list):
        raise ValueError(f"counts are a {type(counts).__name__}, expected a text or a list")
    most = min(MAX_COUNTS, (pixels + 1) * (_GROUPS if isinstance(counts, str) else 1))
    if len(counts) > most:
        raise ValueError(f"counts are {len(counts)} long, expected at most {most} for {pixels} pixels")
    lengths = _unpacked(counts) if isinstance(counts, str) else _listed(counts, pixels)
    strange = lengths[(lengths < 0) | (lengths > pixels)]
    if strange.size or lengths.sum() != pixels:
        told = f"a run of {strange[0]}" if strange.size else f"runs of {lengths.sum()} in all"
        raise ValueError(f"it has {told}, expected runs of {pixels} pixels in all, none of them negative")
    return lengths


def _listed(counts: list[Any], pixels: int) -> np.ndarray:
    for run in counts:
        if type(run) is not int or not 0 <= run <= pixels:
            raise ValueError(f"a run is {str(run)[:40]}, expected an integer from 0 to {pixels}")
    return np.array(counts, np.int64)


def _unpacked(counts: str) -> np.ndarray:
    """The numbers in a text: groups of 5 bits, each a letter, which also says whether another one follows."""
    if not counts:
        return np.zeros(0, np.int64)
    letters = np.frombuffer(counts.encode("utf-8"), np.uint8).astype(np.int64) - _FIRST
    if letters.min() < 0 or letters.max() > _MORE + _BITS:
        raise ValueError("counts hold letters other than '0' to 'o'")
    last = np.flatnonzero(letters & _MORE == 0)
    if not last.size or last[-1] != len(letters) - 1:
        raise ValueError("counts end within a number")
    first = np.append(0, last[:-1] + 1)
    groups = last - first + 1
    if groups.max() > _GROUPS:
        raise ValueError(f"counts hold a number of {groups.max()} letters, expected at most {_GROUPS}")
    places = np.arange(len(letters)) - np.repeat(first, groups)
    numbers = np.add.reduceat((letters & _BITS) << 5 * places, first)
    numbers -= np.where(letters[last] & _SIGN, 1 << 5 * groups, 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def as_text(code: Mapping[str, Any]) -> Rle:
    """A code of pycocotools, whose counts may be bytes, with counts as a text."""
    counts = code["counts"]
    return {
        "size": [int(side) for side in code["size"]],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }
