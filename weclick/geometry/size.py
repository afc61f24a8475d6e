"""The size of coarser grids. It needs no torch."""

from __future__ import annotations

from collections.abc import Sequence


def grid_size(image_size: Sequence[int], stride: int) -> tuple[int, int]:
    """Rows and columns of the stride-times coarser grid: (ceil(H/stride), ceil(W/stride))."""
    return -(-int(image_size[0]) // stride), -(-int(image_size[1]) // stride)
