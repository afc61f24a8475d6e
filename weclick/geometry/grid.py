"""Coarser grids, and flows and masks on them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weclick.geometry.size import grid_size as grid_size  # keys of networks count it with this module


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes a flow (B, 2, H, W) to `size` = (h, w) bilinearly, and scales its values with it."""
    height, width = four_axes(flow, "flow")[2:]
    factor = flow.new_tensor([size[1] / width, size[0] / height]).view(1, 2, 1, 1)
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * factor


def downsample_flow(flow: Tensor, stride: int) -> Tensor:
    """Mean flow of each stride x stride cell, in pixels of the coarse grid (B, 2, ceil(H/s), ceil(W/s)).

    Example:
        Four pixels to the right are two cells of two pixels.

        >>> flow = torch.tensor([4.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
        >>> downsample_flow(flow, stride=2).flatten()
        tensor([2., 0.])
    """
    return _cell_mean(flow, stride) / stride


def downsample_mask(mask: Tensor, stride: int, *, min_share: float = 0.5) -> Tensor:
    """Cells (B, 1, ceil(H/s), ceil(W/s)) bool, true where at least `min_share` of the pixels are set.

    The edge is repeated as in `downsample_flow`. Pixels are counted, which takes a quarter of the time
    that a mean of floats takes.
    """
    height, width = four_axes(mask, "mask")[2:]
    count = mask.to(torch.uint8 if stride < 16 else torch.int32)
    count = _sum_of_each(stride, count, 2, -height % stride)
    count = _sum_of_each(stride, count, 3, -width % stride)
    return count >= (min_share - 1e-6) * stride**2


def _sum_of_each(count: int, values: Tensor, axis: int, lacking: int) -> Tensor:
    """Sums of `count` neighbours on an axis, to whose end the last value is added `lacking` times."""
    last = values.narrow(axis, values.shape[axis] - 1, 1).repeat_interleave(lacking, axis)
    parts = torch.cat([values, last], axis).unfold(axis, count, count).unbind(-1)
    return sum(parts[1:], start=parts[0])


def _cell_mean(values: Tensor, stride: int) -> Tensor:
    """Area mean over cells; the edge is repeated to fill up the last, incomplete ones."""
    height, width = four_axes(values, "values")[2:]
    padded = F.pad(values, (0, -width % stride, 0, -height % stride), mode="replicate")
    return F.avg_pool2d(padded, stride)


def four_axes(values: Tensor, name: str) -> torch.Size:
    """The shape of a tensor of four axes.

    Raises:
        ValueError: it has another number of axes; the error says `name` and the shape.
    """
    if values.ndim != 4:
        raise ValueError(f"{name} has shape {tuple(values.shape)}, expected four axes (B, C, H, W)")
    return values.shape
