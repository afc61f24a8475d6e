"""Brings maps of whole frames from one grid to another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from weclick.geometry import Crop, grid_size, sample_crop, sample_flow_crop

LABEL_STRIDE_PX = 4
"""Of the grid for labels that other tools made. It is that of DeepLabV3+, teachers and students alike."""

HALF = 0.499
"""Half of a cell, but for rounding."""


def whole_frame(size: Sequence[int]) -> Crop:
    """The crop that shows a frame of (H, W) px as it is."""
    return Crop(0.0, 0.0, 1.0, False, (size[0], size[1]))


def to_grid(maps: Tensor, size: Sequence[int], from_px: int, to_px: int) -> Tensor:
    """Maps of frames, interpolated at the centres of the cells of another grid.

    Args:
        maps: (B, C, h, w) on the grid of stride `from_px`.
        size: (H, W) of the frames, px.
        from_px, to_px: strides.

    Returns:
        (B, C, h', w') float32; `maps` itself if the strides are equal.
    """
    if from_px == to_px:
        return maps
    whole = [whole_frame(size)] * len(maps)
    return sample_crop(maps, whole, image_size=size, stride=to_px, source_stride=from_px)[0]


def flow_to_grid(flow: Tensor, size: Sequence[int], from_px: int, to_px: int) -> Tensor:
    """As `to_grid`, of a flow (1, 2, h, w) in px of its own grid; the values become px of the other."""
    if from_px == to_px:
        return flow
    return sample_flow_crop(flow, [whole_frame(size)], image_size=size, stride=to_px, source_stride=from_px)[
        0
    ]


def fits(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Whether a grid of (h, w) cells covers a frame of (H, W) px in cells that are about square."""
    least, most = 0.0, float("inf")
    for cells, side in zip(grid, size, strict=True):
        least, most = max(least, side / (cells + 1)), min(most, side / max(cells - 1, 1e-9))
    return least < most


def to_label_grid(probabilities: Tensor, size: Sequence[int]) -> Tensor:
    """Probabilities of other tools on the grid of LABEL_STRIDE_PX.

    Those of that grid stay as they are. Others are interpolated to the size of the frame, and averaged over
    the pixels of each cell.

    Args:
        probabilities: (1, K, h, w), of the whole frame.
        size: (H, W) of the frame, px.

    Returns:
        (1, K, h', w'): cells of sum 1 over K; and cells of zeros, where less than half is known.
    """
    if tuple(probabilities.shape[-2:]) != grid_size(size, LABEL_STRIDE_PX):
        if tuple(probabilities.shape[-2:]) != (size[0], size[1]):
            probabilities = interpolate(
                probabilities, (size[0], size[1]), mode="bilinear", align_corners=False, antialias=True
            )
        probabilities = avg_pool2d(probabilities, LABEL_STRIDE_PX, ceil_mode=True, count_include_pad=False)
    return normalised(probabilities)


def normalised(weights: Tensor) -> Tensor:
    """Weights of classes (1, K, h, w) as probabilities; zeros where they add up to less than half a vote."""
    total = weights.sum(1, keepdim=True)
    return (weights / total.clamp(min=HALF)).where(total >= HALF, 0)


def cell_shares(ids: np.ndarray, classes: int) -> np.ndarray:
    """The share of each class in the cells of LABEL_STRIDE_PX of a class map.

    Args:
        ids: (H, W) uint8 class ids; larger values are unknown.
        classes: K.

    Returns:
        (K, h, w) float32: shares of the known pixels, of sum 1 over K; zeros where less than half of a cell's
        pixels are known.
    """
    rows, columns = grid_size(ids.shape, LABEL_STRIDE_PX)
    y, x = (np.arange(side) // LABEL_STRIDE_PX for side in ids.shape)
    place = (y[:, None] * columns + x) * (classes + 1) + np.minimum(ids, classes)
    counts = np.bincount(place.ravel(), minlength=rows * columns * (classes + 1))
    counts = counts.reshape(rows, columns, classes + 1).transpose(2, 0, 1)
    known = counts[:classes].sum(0)
    shares = counts[:classes] / np.maximum(known, 1)
    return np.where(2 * known >= counts.sum(0), shares, 0).astype(np.float32)
