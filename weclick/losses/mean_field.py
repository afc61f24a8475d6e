"""Exact mean field of a dense CRF (Kraehenbuehl and Koltun 2011), for grids as small as those of losses.

    q_i <- softmax(log p_i + sum_m w_m sum_j k_m(i, j) q_j)

with Potts compatibility and two kernels, each divided by the roots of its rows' sums, D^-1/2 K D^-1/2:

    smooth     exp(-|dp|^2 / 2 s^2)
    bilateral  exp(-|dp|^2 / 2 s_xy^2 - |dc|^2 / 2 s_rgb^2)

Public code filters in a permutohedral lattice, which approximates the sums. Here all pairs count, a pixel and
itself among them, as in the lattice. The smooth kernel is a product of one kernel of rows and one of columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weclick.losses.blockwise import wide_dtype
from weclick.losses.shapes import check_choice, check_shape

FAINTEST_COUPLING = -64.0
"""Least exponent. e^-64 is nothing beside 1, and exp takes far longer where its result leaves the normal
range."""

BLOCK_VALUES = 2**22
"""Kernel values of a block of rows: 16 MiB in single precision."""

KEPT_VALUES = 2**26
"""Kernel values that are kept from one iteration to the next: 256 MiB in single precision, a grid of 90x90.
Larger kernels are made anew, block by block."""


@dataclass(frozen=True)
class DenseCRF:
    """Weights and sizes of the two kernels.

    Attributes:
        bilateral: weight of the bilateral kernel.
        position_px: its size in position.
        color: its size in colour, in steps of 0..255.
        smooth: weight of the smooth kernel.
        smooth_px: its size.

    Example:
        >>> PRESETS["irn"].color
        5
    """

    bilateral: float
    position_px: float
    color: float
    smooth: float
    smooth_px: float

    def on_grid(self, stride_px: int) -> DenseCRF:
        """The same kernels on a grid of cells of `stride_px` px: their sizes in cells."""
        return replace(self, position_px=self.position_px / stride_px, smooth_px=self.smooth_px / stride_px)


PRESETS = {
    "krahenbuhl_code": DenseCRF(10, 60, 20, 3, 3),
    "nips2011_text": DenseCRF(10, 61, 11, 1, 1),
    "sec": DenseCRF(10, 80 / 12, 13, 3, 3 / 12),
    "deeplab_v1": DenseCRF(10, 80, 13, 3, 3),
    "irn": DenseCRF(10, 50, 5, 3, 3),
}
"""By use:

- krahenbuhl_code: the example program of the authors; nips2011_text: the text of their paper.
- sec: the losses of SEC and DSRG, on 41x41 pixels; like their code, sizes of the image divided by 12.
- deeplab_v1: post-processing of whole images.
- irn: the confident labels of IRN.
"""


def mean_field(probs: Tensor, image: Tensor, preset: str | DenseCRF, *, iterations: int = 10) -> Tensor:
    """What a dense CRF makes of the probabilities of one image.

    The kernel of all pairs has (h w)^2 values. It costs time, but never more memory than `KEPT_VALUES`.

    Args:
        probs: (K, h, w), non-negative; receives no gradient. Zeros count as the least normal number. Or
            (S, K, h, w), several fields of this image, which share the time that its kernel takes.
        image: (h, w, 3) uint8 RGB on the same grid.
        preset: a name in `PRESETS`, or kernels.
        iterations: 0 gives the probabilities themselves, normalised.

    Returns:
        Probabilities in the shape of `probs`, float64 for float64, else float32.

    Raises:
        ValueError: shapes disagree, the image is not uint8, or preset or iterations are unknown.

    Example:
        Two grey pixels and a white one. The first is sure and draws its like along, not the white one.

        >>> probs = torch.tensor([[[0.9, 0.5, 0.2]], [[0.1, 0.5, 0.8]]])
        >>> image = torch.tensor([90, 90, 255], dtype=torch.uint8).view(1, 3, 1).expand(1, 3, 3)
        >>> mean_field(probs, image, "sec")[0].round()
        tensor([[1., 1., 0.]])
    """
    _check_field(probs, image, preset, iterations)
    crf, dtype = PRESETS[preset] if isinstance(preset, str) else preset, wide_dtype(probs)
    with torch.no_grad():
        log_probs = probs.to(dtype).clamp(min=torch.finfo(dtype).tiny).log()
        bilateral = _Bilateral(image.to(probs.device), crf, dtype)
        rows, columns = (_smooth_kernel(side, crf.smooth_px, log_probs) for side in log_probs.shape[-2:])
        q = torch.softmax(log_probs, -3)
        for _ in range(iterations):
            smooth = rows @ q @ columns
            q = torch.softmax(log_probs + crf.smooth * smooth + crf.bilateral * bilateral(q), -3)
    return q


def _smooth_kernel(side: int, size_px: float, like: Tensor) -> Tensor:
    """The normalised smooth kernel of one axis (side, side)."""
    at = torch.arange(side, dtype=like.dtype, device=like.device)
    kernel = ((at[:, None] - at).square() * (-0.5 / size_px**2)).clamp(min=FAINTEST_COUPLING).exp()
    scale = kernel.sum(1).rsqrt()
    return scale[:, None] * kernel * scale


class _Bilateral:
    """The normalised bilateral kernel, as a filter of (K, h, w)."""

    def __init__(self, image: Tensor, crf: DenseCRF, dtype: torch.dtype):
        height, width, _ = image.shape
        rows = torch.arange(height, dtype=dtype, device=image.device).repeat_interleave(width)
        columns = torch.arange(width, dtype=dtype, device=image.device).repeat(height)
        self._positions = torch.stack([rows, columns], 1)
        self._colors = image.reshape(-1, 3).to(dtype)
        self._per_square = -0.5 / crf.position_px**2, -0.5 / crf.color**2
        self._kept = list(self._made()) if (height * width) ** 2 <= KEPT_VALUES else None
        self._scale = self._sums(torch.ones_like(self._positions[:, :1]).T)[0].rsqrt()

    def __call__(self, q: Tensor) -> Tensor:
        return self._sums(q.reshape(-1, len(self._scale)) * self._scale).mul_(self._scale).view(q.shape)

    def _sums(self, values: Tensor) -> Tensor:
        """What each pixel gathers from all pixels, sum_j k(i, j) values_j (K, h w)."""
        sums = torch.empty_like(values)
        for rows, block in self._made() if self._kept is None else self._kept:
            torch.matmul(values, block.T, out=sums[:, rows])
        return sums

    def _made(self) -> Iterator[tuple[slice, Tensor]]:
        """The kernel's rows, some at a time, (n, h w)."""
        pixels = len(self._positions)
        size = max(1, BLOCK_VALUES // pixels)
        for first in range(0, pixels, size):
            rows = slice(first, first + size)
            exponent = _squared_distances(self._positions, rows).mul_(self._per_square[0])
            exponent.add_(_squared_distances(self._colors, rows), alpha=self._per_square[1])
            yield rows, exponent.clamp_(min=FAINTEST_COUPLING).exp_()


def _squared_distances(points: Tensor, block: slice) -> Tensor:
    """From the points of a block to all points. Exact, since positions and colours are small integers."""
    squares = points.square().sum(1)
    return torch.addmm(squares, points[block], points.T, alpha=-2).add_(squares[block, None])


def _check_field(probs: Tensor, image: Tensor, preset: str | DenseCRF, iterations: int) -> None:
    if isinstance(preset, str):
        check_choice("preset", preset, tuple(PRESETS))
    if probs.ndim not in (3, 4):
        raise ValueError(
            f"probs has shape {tuple(probs.shape)}, expected three axes (K, h, w), or (S, K, h, w)"
        )
    check_shape("image", image, (*probs.shape[-2:], 3), "(h, w, 3), on the grid of probs")
    if image.dtype != torch.uint8:
        raise ValueError(f"image is {image.dtype}, expected uint8: colours of 0..255, rounded")
    if iterations < 0:
        raise ValueError(f"iterations is {iterations}, expected 0 or more; 10 is common")
