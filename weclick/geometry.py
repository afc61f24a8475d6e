"""The one coordinate convention: pixel grids, flows, crops, backward warps.

Pixel centres lie at integers, so an image of H rows covers y in [-0.5, H-0.5]. A flow is (dx, dy) in pixels
of the grid it lives on. A grid of stride s has ceil(H/s) rows; its cell i is centred at (i + 0.5) * s - 0.5
full-resolution pixels, which is what `align_corners=False` means.

Values outside an image repeat its border; a mask always tells which ones those are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV's grey


class Crop(NamedTuple):
    """One random affine: output row i shows source row (i + 0.5) / scale - 0.5 + top; columns likewise.

    With `flip`, column j shows what column W - 1 - j would. A negative `top` or `left` pads.

    Attributes:
        top: offset of the crop's first row, in full-resolution source pixels.
        left: offset of the crop's first column, in full-resolution source pixels.
        scale: magnification; 2 shows half as much source, twice as large.
        flip: whether left and right are swapped.
        size: (H, W) of the output, in pixels.
    """

    top: float
    left: float
    scale: float
    flip: bool
    size: tuple[int, int]


def grid_size(image_size: Sequence[int], stride: int) -> tuple[int, int]:
    """Rows and columns of the stride-times coarser grid: (ceil(H/stride), ceil(W/stride))."""
    return -(-int(image_size[0]) // stride), -(-int(image_size[1]) // stride)


# --- backward warps ---------------------------------------------------------------------------------------


def backward_warp(source: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Fetches, for every pixel of the flow's grid, the source value it points at (bilinear).

    Four gathers instead of `grid_sample`, whose normalised coordinates cost 1e-5 to 1e-4 in float32: here the
    identity and whole-pixel shifts are exact. Price: about three times its time on a CPU.

    Args:
        source: (B, C, H, W) floating point; receives gradient.
        flow: (B, 2, H, W), (dx, dy) in pixels, from the output grid into `source`; receives gradient.

    Returns:
        The warped source (B, C, H, W), border values outside; and valid (B, 1, H, W) bool, true where the
        sampling position lies in [0, W-1] x [0, H-1]. A flow that is not finite is not valid.
    """
    y, x, valid = _warp_positions(source, flow)
    top, left = y.floor(), x.floor()
    weight_y, weight_x = ((y - top).to(source.dtype), (x - left).to(source.dtype))
    upper = torch.lerp(_fetch(source, top, left), _fetch(source, top, left + 1), weight_x)
    lower = torch.lerp(_fetch(source, top + 1, left), _fetch(source, top + 1, left + 1), weight_x)
    return torch.lerp(upper, lower, weight_y), valid


def backward_warp_nearest(labels: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Like `backward_warp`, but takes the nearest pixel: for class labels of any dtype (ties round up)."""
    y, x, valid = _warp_positions(labels, flow)
    return _fetch(labels, (y + 0.5).floor(), (x + 0.5).floor()), valid


def _warp_positions(source: Tensor, flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sampling positions y, x (B, 1, H, W), clamped to the image, and where they needed no clamping."""
    batch, _, height, width = _four_axes(source, "source")
    if flow.shape != (batch, 2, height, width):
        raise ValueError(
            f"flow has shape {tuple(flow.shape)}, expected {(batch, 2, height, width)}: (dx, dy) on the grid "
            f"of the source {tuple(source.shape)}; bring it there with resize_flow or downsample_flow"
        )
    flow = flow if flow.dtype == torch.float64 else flow.float()  # half precision cannot address 2048 columns
    y = flow[:, 1:] + torch.arange(height, dtype=flow.dtype, device=flow.device).view(1, 1, -1, 1)
    x = flow[:, :1] + torch.arange(width, dtype=flow.dtype, device=flow.device).view(1, 1, 1, -1)
    valid = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
    return y.nan_to_num().clamp(0, height - 1), x.nan_to_num().clamp(0, width - 1), valid


def _fetch(source: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Source values at whole positions y, x (B, 1, H, W), at most one pixel beyond the last row or column."""
    channels, height, width = source.shape[1:]
    index = y.long().clamp(max=height - 1) * width + x.long().clamp(max=width - 1)
    return source.flatten(2).gather(2, index.flatten(2).expand(-1, channels, -1)).view_as(source)


# --- crops ------------------------------------------------------------------------------------------------


def crop_sampling_positions(crop: Crop, *, stride: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Full-resolution source rows y (h,) and columns x (w,), float64, of the crop's grid of `stride` px."""
    rows, columns = grid_size(crop.size, stride)
    y = (np.arange(rows) + 0.5) * stride - 0.5
    x = (np.arange(columns) + 0.5) * stride - 0.5
    x = crop.size[1] - 1 - x if crop.flip else x
    return (y + 0.5) / crop.scale - 0.5 + crop.top, (x + 0.5) / crop.scale - 0.5 + crop.left


def crop_window(
    crop: Crop, image_size: Sequence[int], *, stride: int = 1, source_stride: int = 1
) -> tuple[int, int, int, int]:
    """(y0, x0, h, w) in cells of the source grid: the window that `sample_crop` touches."""
    starts, sizes = [], []
    positions = crop_sampling_positions(crop, stride=stride)
    for position, cells in zip(positions, grid_size(image_size, source_stride), strict=True):
        low, high, _ = _neighbours(position, cells, source_stride)
        starts.append(int(low.min()))
        sizes.append(int(high.max()) + 1 - starts[-1])
    return starts[0], starts[1], sizes[0], sizes[1]


def sample_crop(
    images: Tensor | Sequence[Tensor],
    crops: Sequence[Crop],
    *,
    image_size: Sequence[int] | np.ndarray | None = None,
    stride: int = 1,
    source_stride: int = 1,
    origin: Sequence[Sequence[int]] | np.ndarray | Tensor | None = None,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> tuple[Tensor, Tensor]:
    """Shows each image through its crop: scale, cut and flip in one exact resampling.

    Crops are axis-aligned, so rows and columns are interpolated one after the other: exact at whole pixels.

    Args:
        images: (B, C, h, w) tensor, or B tensors (C, h, w) of differing sizes; any dtype. They live on the
            grid that is `source_stride` times coarser than the full image.
        crops: one per image, all of one output size (H, W).
        image_size: (H, W) of the full image in pixels, or (B, 2); None for whole images at source_stride 1.
        stride: pixels of the crop per output cell.
        source_stride: full-resolution pixels per cell of `images`.
        origin: (B, 2), the (y0, x0) cell at which each of `images` starts, where they are windows of the full
            array (see `crop_window`); None for whole arrays.
        mode: bilinear gives floating point, nearest keeps the dtype.

    Returns:
        out (B, C, ceil(H/stride), ceil(W/stride)), border values outside; and inside (B, 1, ...) bool, true
        where the full-resolution position lies in [-0.5, H-0.5] x [-0.5, W-0.5] of the image.

    Raises:
        ValueError: where sizes disagree or a window does not cover what its crop needs.
    """
    image_sizes, origins = _per_image(images, crops, image_size, source_stride, origin)
    outs, insides = [], []
    for image, crop, full, start in zip(images, crops, image_sizes, origins, strict=True):
        within = []
        for axis, position in enumerate(crop_sampling_positions(crop, stride=stride)):
            low, high, weight = _neighbours(position, grid_size(full, source_stride)[axis], source_stride)
            low, high = low - start[axis], high - start[axis]
            _check_covered(low, high, image.shape[axis + 1], "yx"[axis], crop)
            image = _interpolate(image, axis + 1, low, high, weight, mode)
            within.append((position >= -0.5) & (position <= full[axis] - 0.5))
        outs.append(image)
        insides.append(torch.from_numpy(within[0][:, None] & within[1][None, :]))
    return torch.stack(outs), torch.stack(insides)[:, None].to(outs[0].device)


def sample_flow_crop(
    flows: Tensor | Sequence[Tensor],
    crops: Sequence[Crop],
    *,
    image_size: Sequence[int] | np.ndarray | None = None,
    stride: int = 1,
    source_stride: int = 1,
    origin: Sequence[Sequence[int]] | np.ndarray | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`sample_crop` for flows (B, 2, h, w) in pixels of their own grid; returns pixels of the output grid.

    Warping a cropped neighbour by the cropped flow equals cropping the warped neighbour, if both frames went
    through the same crop: values scale by source_stride * scale / stride, and a flip negates dx.
    """
    out, inside = sample_crop(
        flows, crops, image_size=image_size, stride=stride, source_stride=source_stride, origin=origin
    )
    factor = out.new_tensor([[-crop.scale if crop.flip else crop.scale, crop.scale] for crop in crops])
    return out * (factor * (source_stride / stride)).view(-1, 2, 1, 1), inside


def move_points(points: Tensor | np.ndarray, crop: Crop) -> tuple[Tensor, Tensor]:
    """Moves points with the crop.

    Args:
        points: (N, 2), [y, x] in full-resolution source pixels.
        crop: the affine.

    Returns:
        (N, 2) floating point [y, x] in pixels of the crop (stride 1), and inside (N,) bool: whether each
        point falls on a pixel of the crop.
    """
    points = torch.as_tensor(points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points have shape {tuple(points.shape)}, expected (N, 2): [y, x] in source pixels")
    points = points if points.is_floating_point() else points.double()
    y = (points[:, 0] - crop.top + 0.5) * crop.scale - 0.5
    x = (points[:, 1] - crop.left + 0.5) * crop.scale - 0.5
    x = crop.size[1] - 1 - x if crop.flip else x
    inside = (y >= -0.5) & (y < crop.size[0] - 0.5) & (x >= -0.5) & (x < crop.size[1] - 0.5)
    return torch.stack([y, x], dim=1), inside


def _neighbours(position: np.ndarray, cells: int, source_stride: int) -> tuple[np.ndarray, ...]:
    """The two source cells around each full-resolution position, and the weight of the second."""
    cell = ((position + 0.5) / source_stride - 0.5).clip(0, cells - 1)
    low = np.floor(cell).astype(np.int64)
    return low, np.ceil(cell).astype(np.int64), cell - low


def _interpolate(
    image: Tensor, axis: int, low: np.ndarray, high: np.ndarray, weight: np.ndarray, mode: str
) -> Tensor:
    """Resamples one axis of an image (C, h, w)."""
    if mode == "nearest":
        return image.index_select(axis, torch.from_numpy(np.where(weight >= 0.5, high, low)).to(image.device))
    if mode != "bilinear":
        raise ValueError(f"mode is {mode!r}, expected 'bilinear' or 'nearest'")
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    first, second = (
        image.index_select(axis, torch.from_numpy(index).to(image.device)).to(dtype) for index in (low, high)
    )
    return torch.lerp(first, second, torch.from_numpy(weight).to(first).view(-1, *[1] * (2 - axis)))


def _per_image(
    images: Iterable[Tensor],
    crops: Sequence[Crop],
    image_size: Sequence[int] | np.ndarray | None,
    source_stride: int,
    origin: Sequence[Sequence[int]] | np.ndarray | Tensor | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Full image sizes (B, 2) and window origins (B, 2) of a batch, checked against the arrays themselves."""
    shapes = np.array([image.shape[-2:] for image in images])
    if len(shapes) != len(crops) or len({crop.size for crop in crops}) != 1:
        sizes = sorted({crop.size for crop in crops})
        raise ValueError(
            f"{len(shapes)} images with {len(crops)} crops of sizes {sizes}: one crop each, one size"
        )
    if image_size is None and (origin is not None or source_stride != 1):
        raise ValueError(
            "image_size is missing: windows and coarse grids do not tell the size of the full image"
        )
    full = np.broadcast_to(shapes if image_size is None else np.asarray(image_size), shapes.shape)
    if origin is not None:
        return full, np.broadcast_to(np.asarray(origin), shapes.shape)
    expected = [grid_size(size, source_stride) for size in full]
    if (shapes != expected).any():
        raise ValueError(
            f"images are {shapes.tolist()} cells (h, w), but full images of {full.tolist()} px at "
            f"source_stride {source_stride} have {expected}; pass `origin` if these are windows"
        )
    return full, np.zeros_like(shapes)


def _check_covered(low: np.ndarray, high: np.ndarray, cells: int, axis: str, crop: Crop) -> None:
    if low.min() < 0 or high.max() >= cells:
        raise ValueError(
            f"the window has cells 0..{cells - 1} along {axis}, but {crop} needs {low.min()}..{high.max()} "
            f"of it; read the window that crop_window tells"
        )


# --- coarser grids ----------------------------------------------------------------------------------------


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes a flow (B, 2, H, W) to `size` = (h, w) bilinearly, its values scaled along."""
    height, width = _four_axes(flow, "flow")[2:]
    factor = flow.new_tensor([size[1] / width, size[0] / height]).view(1, 2, 1, 1)
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * factor


def downsample_flow(flow: Tensor, stride: int) -> Tensor:
    """Mean flow of each stride x stride cell, in pixels of the coarse grid (B, 2, ceil(H/s), ceil(W/s))."""
    return _cell_mean(flow, stride) / stride


def downsample_mask(mask: Tensor, stride: int, *, min_share: float = 0.5) -> Tensor:
    """Cells (B, 1, ceil(H/s), ceil(W/s)) bool of which at least `min_share` of the pixels are set."""
    return _cell_mean(mask.float(), stride) >= min_share - 1e-6


def _cell_mean(values: Tensor, stride: int) -> Tensor:
    """Area mean over cells; the last, incomplete ones are filled up by repeating the edge."""
    height, width = _four_axes(values, "values")[2:]
    padded = F.pad(values, (0, -width % stride, 0, -height % stride), mode="replicate")
    return F.avg_pool2d(padded, stride)


# --- which flow vectors to believe ------------------------------------------------------------------------


def forward_backward_valid(flow_fw: Tensor, flow_bw: Tensor) -> Tensor:
    """Where two opposite flows cancel (Sundaram et al. 2010).

    |fw + bw(fw)|^2 < 0.01 (|fw|^2 + |bw(fw)|^2) + 0.5, bw(fw) being the backward flow warped by fw.

    Args:
        flow_fw: (B, 2, H, W) px, from the grid to be judged to the other frame.
        flow_bw: (B, 2, H, W) px, back from there.

    Returns:
        (B, 1, H, W) bool; false also where `flow_fw` leaves the image.
    """
    back, valid = backward_warp(flow_bw, flow_fw)
    gap = (flow_fw + back).square().sum(1, keepdim=True)
    motion = (flow_fw.square() + back.square()).sum(1, keepdim=True)
    return valid & (gap < 0.01 * motion + 0.5)


def photometric_valid(
    target: Tensor, neighbour: Tensor, flow: Tensor, threshold: float = 12.0, window: int = 5
) -> Tensor:
    """Where the warped neighbour looks like the target; needs no second flow.

    Args:
        target: (B, 3, H, W) RGB, 0..255, any dtype.
        neighbour: likewise.
        flow: (B, 2, H, W) px, target -> neighbour.
        threshold: largest mean absolute grey difference, in grey levels.
        window: odd side of the square over which differences are averaged, in px; clipped at the border.

    Returns:
        (B, 1, H, W) bool; false also where the flow leaves the image.
    """
    warped, valid = backward_warp(_grey(neighbour), flow)
    error = (_grey(target) - warped).abs()
    mean = F.avg_pool2d(error, window, stride=1, padding=window // 2, count_include_pad=False)
    return valid & (mean < threshold)


def _grey(rgb: Tensor) -> Tensor:
    if _four_axes(rgb, "rgb")[1] != 3:
        raise ValueError(f"rgb has shape {tuple(rgb.shape)}, expected (B, 3, H, W) with values 0..255")
    return (rgb.float() * rgb.new_tensor(LUMA, dtype=torch.float32).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _four_axes(values: Tensor, name: str) -> torch.Size:
    if values.ndim != 4:
        raise ValueError(f"{name} has shape {tuple(values.shape)}, expected four axes (B, C, H, W)")
    return values.shape
