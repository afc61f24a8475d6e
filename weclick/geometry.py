"""The one coordinate convention: pixel grids, flows, crops, backward warps.

Pixel centres lie at integers, so an image of H rows covers y in [-0.5, H-0.5]. A flow is (dx, dy) in pixels
of the grid it lives on. A grid of stride s has ceil(H/s) rows; its cell i is centred at (i + 0.5) * s - 0.5
full-resolution pixels, which is what `align_corners=False` means.

Values outside an image repeat its border; a mask always tells which ones those are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV's grey
BAND = 32
"""Output columns of one product in `sample_crop` on a CPU; 64 and 16 are slower."""

Decode = Callable[[Tensor], Tensor]
"""Stored cells (..., C, h, w) -> what they mean, (..., C', h, w) floating point."""


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


class Taps(NamedTuple):
    """Along one axis, the two source cells around each sampling position, and the weight of the second."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


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
        taps = _taps(position[[0, -1]], cells, source_stride)
        starts.append(int(taps.low.min()))
        sizes.append(int(taps.high.max()) + 1 - starts[-1])
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
    decode: Decode | None = None,
) -> tuple[Tensor, Tensor]:
    """Shows each image through its crop: scale, cut and flip in one exact resampling.

    Crops are axis-aligned. On a CPU rows and columns are interpolated one after the other, an image at a
    time, so that it stays in the cache; elsewhere all images at once, by four gathers. Both are exact at
    whole pixels.

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
        decode: what stored values mean, cell by cell: (..., C, h, w) -> floating point (..., C', h, w).
            Its result is what is interpolated.

    Returns:
        out (B, C, ceil(H/stride), ceil(W/stride)), border values outside; and inside (B, 1, ...) bool, see
        `inside_image`.

    Raises:
        ValueError: where sizes disagree or a window does not cover what its crop needs.
    """
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode is {mode!r}, expected 'bilinear' or 'nearest'")
    image_sizes, origins = _per_image(images, crops, image_size, source_stride, origin)
    taps = []
    for image, crop, full, start in zip(images, crops, image_sizes, origins, strict=True):
        positions = crop_sampling_positions(crop, stride=stride)
        cells = grid_size(full, source_stride)
        taps.append([_taps(positions[i], cells[i], source_stride, int(start[i])) for i in range(2)])
        for axis, tap in enumerate(taps[-1]):
            _check_covered(tap.low, tap.high, image.shape[axis + 1], "yx"[axis], crop)
    device = images[0].device
    inside = inside_image(crops, image_sizes, stride=stride).to(device)
    if device.type != "cpu":
        return sample_together(images, taps, mode=mode, decode=decode), inside
    out = None
    for i, (image, (rows, columns)) in enumerate(zip(images, taps, strict=True)):
        image = image if decode is None else decode(image)
        if out is None:
            dtype = image.dtype if mode == "nearest" or image.dtype == torch.float64 else torch.float32
            out = image.new_empty(len(crops), len(image), len(rows.low), len(columns.low), dtype=dtype)
        (_nearest if mode == "nearest" else _bilinear)(image, rows, columns, out[i])
    assert out is not None
    return out, inside


def inside_image(crops: Sequence[Crop], image_size: Sequence[int] | np.ndarray, *, stride: int = 1) -> Tensor:
    """Which cells of the crops show the image and no padding.

    Args:
        crops: B of one size (H, W).
        image_size: (H, W) of the full images in pixels, or (B, 2).
        stride: pixels of the crop per cell.

    Returns:
        (B, 1, ceil(H/stride), ceil(W/stride)) bool on the CPU, true where the full-resolution position lies
        in [-0.5, H-0.5] x [-0.5, W-0.5] of the image.
    """
    insides = []
    for crop, full in zip(crops, np.broadcast_to(np.asarray(image_size), (len(crops), 2)), strict=True):
        positions = crop_sampling_positions(crop, stride=stride)
        y, x = ((at >= -0.5) & (at <= side - 0.5) for at, side in zip(positions, full, strict=True))
        insides.append(torch.from_numpy(y[:, None] & x))
    return torch.stack(insides)[:, None]


def sample_flow_crop(
    flows: Tensor | Sequence[Tensor],
    crops: Sequence[Crop],
    *,
    image_size: Sequence[int] | np.ndarray | None = None,
    stride: int = 1,
    source_stride: int = 1,
    origin: Sequence[Sequence[int]] | np.ndarray | Tensor | None = None,
    decode: Decode | None = None,
) -> tuple[Tensor, Tensor]:
    """`sample_crop` for flows (B, 2, h, w) in pixels of their own grid; returns pixels of the output grid.

    Warping a cropped neighbour by the cropped flow equals cropping the warped neighbour, if both frames went
    through the same crop: values scale by source_stride * scale / stride, and a flip negates dx.
    """
    out, inside = sample_crop(
        flows,
        crops,
        image_size=image_size,
        stride=stride,
        source_stride=source_stride,
        origin=origin,
        decode=decode,
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


def sample_together(
    images: Tensor | Sequence[Tensor],
    taps: Sequence[Sequence[Taps]],
    *,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    decode: Decode | None = None,
) -> Tensor:
    """`sample_crop` in a dozen operations for the whole batch, whatever the sizes: gathers in one flat array.

    Args:
        images: B of (C, h, w), the sizes of h and w differing.
        taps: for each, those of rows and columns.
        mode: as in `sample_crop`.
        decode: as in `sample_crop`; applied to the gathered cells.

    Returns:
        (B, C', H, W), H and W being the numbers of taps.
    """
    flat = torch.cat([image.reshape(-1) for image in images])
    channels = images[0].shape[0]
    planes = np.array([[image[0].numel(), image.shape[2]] for image in images])
    starts = np.cumsum([0, *channels * planes[:-1, 0]])[:, None] + np.arange(channels) * planes[:, :1]

    def upload(values: Sequence[np.ndarray] | np.ndarray, *shape: int) -> Tensor:
        return torch.from_numpy(np.stack(list(values))).to(flat.device).view(len(images), *shape)

    start = upload(starts, channels, 1, 1)
    low_y, high_y = (
        upload(
            [getattr(rows, side) * pitch for (rows, _), (_, pitch) in zip(taps, planes, strict=True)],
            1,
            -1,
            1,
        )
        for side in ("low", "high")
    )
    low_x, high_x = (
        upload([getattr(columns, side) for _, columns in taps], 1, 1, -1) for side in ("low", "high")
    )
    weight_y = upload([rows.weight for rows, _ in taps], 1, -1, 1)
    weight_x = upload([columns.weight for _, columns in taps], 1, 1, -1)

    def fetch(y: Tensor, x: Tensor) -> Tensor:
        cells = flat[start + y + x]
        return cells if decode is None else decode(cells)

    if mode == "nearest":
        return fetch(torch.where(weight_y >= 0.5, high_y, low_y), torch.where(weight_x >= 0.5, high_x, low_x))
    dtype = torch.float64 if flat.dtype == torch.float64 else torch.float32
    weight_y, weight_x = weight_y.to(dtype), weight_x.to(dtype)
    upper = torch.lerp(fetch(low_y, low_x).to(dtype), fetch(low_y, high_x).to(dtype), weight_x)
    lower = torch.lerp(fetch(high_y, low_x).to(dtype), fetch(high_y, high_x).to(dtype), weight_x)
    return torch.lerp(upper, lower, weight_y)


def _taps(position: np.ndarray, cells: int, source_stride: int, start: int = 0) -> Taps:
    """The cells around full-resolution positions, counted from cell `start` of the source grid."""
    cell = ((position + 0.5) / source_stride - 0.5).clip(0, cells - 1)
    low = np.floor(cell).astype(np.int64)
    return Taps(low - start, np.ceil(cell).astype(np.int64) - start, cell - low)


def _nearest(image: Tensor, rows: Taps, columns: Taps, out: Tensor) -> None:
    y, x = (torch.from_numpy(np.where(tap.weight >= 0.5, tap.high, tap.low)) for tap in (rows, columns))
    torch.index_select(image.index_select(1, y), 2, x, out=out)


def _bilinear(image: Tensor, rows: Taps, columns: Taps, out: Tensor) -> None:
    """Rows by two copies and a lerp, columns by products with bands of weights: (C, h, w) -> out (C, H, W).

    Gathering columns one by one costs five times as much as the products, which read what is contiguous.
    """
    image = image.contiguous()
    upper, lower = (
        image.index_select(1, torch.from_numpy(index)).to(out.dtype) for index in (rows.low, rows.high)
    )
    upper = upper.lerp_(lower, torch.from_numpy(rows.weight).to(out.dtype)[:, None])
    flat, flat_out = upper.flatten(0, 1), out.view(-1, len(columns.low))
    for begin in range(0, len(columns.low), BAND):
        low, high, weight = (each[begin : begin + BAND] for each in columns)
        first, end = int(low.min()), int(high.max()) + 1
        band = np.zeros((end - first, len(low)))
        np.add.at(band, (low - first, np.arange(len(low))), 1 - weight)
        np.add.at(band, (high - first, np.arange(len(low))), weight)
        torch.mm(
            flat[:, first:end], torch.from_numpy(band).to(out.dtype), out=flat_out[:, begin : begin + BAND]
        )


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
