"""How one flow entry of the store is laid out: P pairs of a clip, int16 of 1/64 px, and bits of validity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from weclick.geometry import grid_size
from weclick.store import EntryWriter, encode_flow

CODEC = "int16, 1/64 px"
CHUNK_CELLS = 128


def allocate_flow(
    entry: EntryWriter, pairs: int, image_size: tuple[int, int], *, stride_px: int, with_masks: bool
) -> dict[str, Any]:
    """Make the empty arrays of an entry.

    Args:
        entry: a new one.
        pairs: P.
        image_size: (H, W) of the frames, px.
        stride_px: of the grid.
        with_masks: whether there is an array `valid`.

    Returns:
        `flow` (P, 2, h, w) int16, its second axis (dx, dy); and `valid` (P, h, w) uint8 where asked for.
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
    """Encode and write one pair: (2, h, w) px of the grid, and (h, w) uint8 bits where the entry has them.

    Returns:
        How many values were clipped.

    Raises:
        ValueError: as in `encode_flow`.
    """
    arrays["flow"][pair_index], clipped = encode_flow(flow, on_overflow=on_overflow)
    if valid is not None:
        arrays["valid"][pair_index] = valid
    return clipped
