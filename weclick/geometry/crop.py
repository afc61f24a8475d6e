"""Crops: one joint affine for frames, flows, soft labels and points; see the package for the convention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from weclick.geometry.resample import Decode, resample_bilinear, resample_nearest, sample_together, taps_at
from weclick.geometry.size import grid_size


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
        taps = taps_at(position[[0, -1]], cells, source_stride)
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

    Crops are axis-aligned. A CPU interpolates one image after the other, first rows, then columns: the image
    stays in the cache. Elsewhere four gathers interpolate all images at once. Both are exact at whole pixels.

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
        decode: turns stored cells (..., C, h, w) into the values to interpolate, floating point
            (..., C', h, w).

    Returns:
        out (B, C, ceil(H/stride), ceil(W/stride)), border values outside; and inside (B, 1, ...) bool, see
        `inside_image`.

    Raises:
        ValueError: sizes disagree, or a window does not cover what its crop needs.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> mirrored, inside = sample_crop(image, [Crop(top=0, left=0, scale=1, flip=True, size=(2, 2))])
        >>> mirrored.tolist(), inside.all().item()
        ([[[[2.0, 1.0], [4.0, 3.0]]]], True)
    """
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode is {mode!r}, expected 'bilinear' or 'nearest'")
    image_sizes, origins = _per_image(images, crops, image_size, source_stride, origin)
    taps = []
    for image, crop, full, start in zip(images, crops, image_sizes, origins, strict=True):
        positions = crop_sampling_positions(crop, stride=stride)
        cells = grid_size(full, source_stride)
        taps.append([taps_at(positions[i], cells[i], source_stride, int(start[i])) for i in range(2)])
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
        (resample_nearest if mode == "nearest" else resample_bilinear)(image, rows, columns, out[i])
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
    """`sample_crop` for flows (B, 2 L, h, w) in pixels of their own grid; returns pixels of the output grid.

    Channels are dx and dy of the first flow, then of the second, and so on.

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
    flows_of = out.view(len(crops), -1, 2, *out.shape[-2:])
    flows_of *= (factor * (source_stride / stride)).view(-1, 1, 2, 1, 1)
    return out, inside


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
            f"{len(shapes)} images with {len(crops)} crops of sizes {sizes}; give every image a crop, all of "
            "one size"
        )
    if image_size is None and (origin is not None or source_stride != 1):
        raise ValueError(
            "image_size is missing; pass it, since windows and coarse grids do not tell the full image's size"
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
            f"of it; read the window that crop_window gives"
        )
