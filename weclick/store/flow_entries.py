"""Entries of the kind "flow": what they hold, and how they are written, checked and read.

An entry holds the P flows of one clip, in the order of its attribute `pairs`:

- `flow` (P, 2, h, w) int16 steps of 1/FLOW_SCALE px of the stride grid: (dx, dy) on the target's grid,
  pointing to the neighbour;
- `valid` (P, h, w) uint8 with the bits of MASKS that hold, if the configuration asks for masks.

Keys and entries hold CODEC and MASKS, so a change of these makes every stored flow stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from weclick.common.errors import InputError
from weclick.geometry import grid_size
from weclick.geometry.thresholds import ABSOLUTE_PX2, GREY_LEVELS, RELATIVE, WINDOW_PX
from weclick.manifest import Clip
from weclick.store.codecs import FLOW_SCALE, decode_flow, encode_flow
from weclick.store.entries import Entry, EntryWriter
from weclick.store.meta import damaged
from weclick.store.verify import check_attributes

CODEC = f"int16, 1/{FLOW_SCALE} px"

MASKS: dict[str, dict[str, float]] = {
    "forward_backward": {"bit": 1, "relative": RELATIVE, "absolute_px2": ABSOLUTE_PX2},
    "photometric": {"bit": 2, "threshold_grey_levels": GREY_LEVELS, "window_px": WINDOW_PX},
}
"""Masks by name: their bit in `valid`, and their thresholds (see weclick/geometry/thresholds.py). Masks are
made at the size of the image. A cell of the grid is valid if at least half of its pixels are."""

_BITS = {name: int(mask["bit"]) for name, mask in MASKS.items()}
MASK_BITS = {"none": 0, **_BITS, "both": sum(_BITS.values())}
"""The bits that have to hold, by the names that `mfd.occlusion` takes."""

CHUNK_CELLS = 128
"""Side of a chunk, the unit of reading."""

MAX_PIXELS = 2**27
"""The largest image that an entry may claim; its flow takes 1 GiB."""


def allocate_flow(
    entry: EntryWriter, pairs: int, image_size: tuple[int, int], *, stride_px: int, with_masks: bool
) -> dict[str, Any]:
    """Make the empty arrays of an entry.

    Args:
        entry: a new one.
        pairs: P.
        image_size: (H, W) of the frames, px.
        stride_px: of the grid.
        with_masks: whether to make an array `valid`.

    Returns:
        `flow` (P, 2, h, w) int16, its second axis (dx, dy); and with masks `valid` (P, h, w) uint8.
    """
    h, w = grid_size(image_size, stride_px)
    tile = CHUNK_CELLS, CHUNK_CELLS
    arrays = {
        "flow": entry.create_array(
            "flow", shape=(pairs, 2, h, w), chunks=(1, 2, *tile), dtype="int16", axes="PDHW"
        )
    }
    if with_masks:
        arrays["valid"] = entry.create_array(
            "valid", shape=(pairs, h, w), chunks=(1, *tile), dtype="uint8", axes="PHW"
        )
    return arrays


def write_flow(
    arrays: Mapping[str, Any],
    pair_index: int,
    flow: np.ndarray,
    valid: np.ndarray | None,
    *,
    on_overflow: Literal["error", "clip"],
) -> int:
    """Encode and write one pair: (2, h, w) px of the grid, and (h, w) uint8 bits if the entry has masks.

    Returns:
        How many values were clipped.

    Raises:
        ValueError: as in `encode_flow`.
    """
    arrays["flow"][pair_index], clipped = encode_flow(flow, on_overflow=on_overflow)
    if valid is not None:
        arrays["valid"][pair_index] = valid
    return clipped


def checked_stride(entry: Entry, image_size: Sequence[int] | None = None) -> int:
    """Image pixels per cell of an entry's flow. Checks first that the entry's description is consistent.

    Args:
        entry: of the kind "flow"; its flows are not read.
        image_size: (H, W) of the frames, px; None takes what the entry says.

    Raises:
        DamagedEntryError: its attributes, its arrays and images of this size do not fit each other.
    """
    check_attributes(entry)
    height, width = (int(side) for side in image_size or entry.attributes["image_size"])
    stride_px, pairs = int(entry.attributes["stride_px"]), len(entry.attributes["pairs"])
    rows, columns = grid_size((height, width), stride_px)
    told = f"images of {height}x{width} px (HxW) in cells of {stride_px} px"
    if stride_px > max(height, width) or rows * columns * stride_px**2 > MAX_PIXELS:
        raise damaged(
            entry.path, f"{told}; expected cells no larger than the image, and at most {MAX_PIXELS} pixels"
        )
    expected: dict[str, tuple[int, ...]] = {"flow": (pairs, 2, rows, columns)}
    expected |= {"valid": (pairs, rows, columns)} if entry.attributes["masks"] else {}
    for name, shape in expected.items():
        if (found := entry.array(name).shape) != shape:
            raise damaged(entry.path, f"{name} is of shape {found}, but {pairs} pairs of {told} are {shape}")
    return stride_px


def stored_pairs(entry: Entry, clip: Clip) -> list[tuple[int, int]]:
    """Positions in a clip of the (target, neighbour) of every pair of its entry, in the entry's order.

    Frames are matched by content, since a colleague's entry may have other names for them.

    Raises:
        InputError: the entry holds other frames.
    """
    position = {frame.digest: t for t, frame in enumerate(clip.frames)}
    try:
        return [(position[target], position[other]) for target, other in entry.meta["inputs"]["pairs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{entry.path}: holds the flow of frames that clip {clip.id!r} has not; the index belongs to "
            "another manifest: run the flow stage again"
        ) from error


def read_flow(entry: Entry, pair_index: int) -> tuple[np.ndarray, np.ndarray | None]:
    """One flow of an entry.

    Args:
        entry: of the kind "flow".
        pair_index: position in the entry's attribute `pairs`.

    Returns:
        (2, h, w) float32 (dx, dy) in px of the stride grid, on the target's grid, pointing to the neighbour;
        and (h, w) uint8, the bits of the masks that hold (attribute `masks`), or None if there are no masks.
    """
    flow = decode_flow(np.asarray(entry.array("flow")[pair_index]))
    return flow, np.asarray(entry.array("valid")[pair_index]) if entry.attributes["masks"] else None


def grid_flow(entry: Entry, pair_index: int) -> tuple[np.ndarray, np.ndarray]:
    """One flow of an entry as it is stored.

    Returns:
        (2, h, w) float32 px of the stride grid; and (h, w) bool, the cells for which all masks hold.
    """
    flow, bits = read_flow(entry, pair_index)
    wanted = sum(int(mask["bit"]) for mask in entry.attributes["masks"].values())
    valid = np.ones(flow.shape[1:], bool) if bits is None else (bits & wanted) == wanted
    return flow, valid
