"""Values at positions between the cells of a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

BAND = 32
"""Output columns of one product in `sample_crop` on a CPU; 64 and 16 are slower."""

Decode = Callable[[Tensor], Tensor]
"""Stored cells (..., C, h, w) -> their values (..., C', h, w), floating point."""


class Taps(NamedTuple):
    """The two source cells around each sampling position along one axis, and the weight of the second."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


def sample_together(
    images: Tensor | Sequence[Tensor],
    taps: Sequence[Sequence[Taps]],
    *,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    decode: Decode | None = None,
) -> Tensor:
    """`sample_crop` for images of any sizes in a dozen operations: gathers from one flat array.

    Args:
        images: B images (C, h, w); h and w may differ.
        taps: for each image, the taps of its rows and of its columns.
        mode: as in `sample_crop`.
        decode: as in `sample_crop`; applied to the gathered cells.

    Returns:
        (B, C', H, W), where H and W are the numbers of taps.
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


def taps_at(position: np.ndarray, cells: int, source_stride: int, start: int = 0) -> Taps:
    """The cells around full-resolution positions, counted from cell `start` of the source grid."""
    cell = ((position + 0.5) / source_stride - 0.5).clip(0, cells - 1)
    low = np.floor(cell).astype(np.int64)
    return Taps(low - start, np.ceil(cell).astype(np.int64) - start, cell - low)


def resample_nearest(image: Tensor, rows: Taps, columns: Taps, out: Tensor) -> None:
    """Takes the cell nearest to each position (halfway: the second): (C, h, w) -> out (C, H, W)."""
    y, x = (torch.from_numpy(np.where(tap.weight >= 0.5, tap.high, tap.low)) for tap in (rows, columns))
    torch.index_select(image.index_select(1, y), 2, x, out=out)


def resample_bilinear(image: Tensor, rows: Taps, columns: Taps, out: Tensor) -> None:
    """Interpolates (C, h, w) -> out (C, H, W): rows by a lerp of two copies, columns by banded products.

    The products read contiguous memory. To gather columns one by one costs five times as much.
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
