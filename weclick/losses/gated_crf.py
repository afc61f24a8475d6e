"""Gated CRF loss (Obukhov et al. 2019, https://arxiv.org/abs/1906.04651), exact and in linear memory.

With Potts compatibility, pairs (i, j) of a (2r+1)^2 window without its centre, a destination mask d on the
centre i and a validity v on the neighbour j:

    L = sum_ij d_i v_j k_ij (1 - <p_i, p_j>) / denom

The published code unfolds the window: (2r+1)^2 copies of everything. This code visits each offset of half a
window once, with the symmetric weight of its two ordered pairs, w_ij = (d_i v_j + d_j v_i) k_ij. It keeps
only g_i = sum_j w_ij p_j. That gives the loss, (sum w - 1/2 sum_i <p_i, g_i>) / denom over unordered pairs,
and its gradient, -g_i / denom. Memory: O(B K h w), whatever the radius. On a GPU with Triton, one kernel
walks whole windows instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from weclick.losses.shapes import check_four_axes, check_shape

FAINTEST = -64.0
"""Least exponent: e^-64 is nothing beside 1 even in double precision. Below e^-87 single precision leaves its
normal range, and exp takes 70 times as long. Half of the pairs of a colourful image are that faint."""

CACHED_CELLS = 3 * 2**19
"""Probabilities to work on at once: 6 MiB, so that they stay in the cache for a whole window. Half as many
take a tenth more time, and on large grids so do twice as many."""


@dataclass(frozen=True)
class GatedCRFKernel:
    """One Gaussian kernel, weight * exp(-1/2 (|dxy|^2 / sigma_xy^2 + |drgb|^2 / sigma_rgb^2)).

    Attributes:
        weight: factor of the kernel.
        sigma_xy: in pixels of the probabilities' grid.
        sigma_rgb: in units of the given rgb; None for a kernel of position alone.

    Example:
        One sigma away in position, and of the same colour: exp(-1/2).

        >>> GatedCRFKernel(weight=1.0, sigma_xy=6.0, sigma_rgb=0.1)(36.0, torch.zeros(1))
        tensor([0.6065])
    """

    weight: float = 1.0
    sigma_xy: float = 6.0
    sigma_rgb: float | None = 0.1

    def __call__(self, squared_px: float | Tensor, squared_rgb: Tensor) -> Tensor:
        """Kernel values for squared distances in position and in colour."""
        per_squared_rgb = 0.0 if self.sigma_rgb is None else -0.5 / self.sigma_rgb**2
        exponent = squared_rgb * per_squared_rgb
        exponent -= squared_px * (0.5 / self.sigma_xy**2)
        return exponent.clamp_min_(FAINTEST).exp_().mul_(self.weight)


def gated_crf(
    probs: Tensor,
    rgb: Tensor,
    *,
    kernels: Sequence[GatedCRFKernel] = (GatedCRFKernel(weight=1.0, sigma_xy=6.0, sigma_rgb=0.1),),
    radius: int = 5,
    valid: Tensor | None = None,
    destination: Tensor | None = None,
) -> Tensor:
    """Penalises neighbouring pixels of similar colour that differ in class.

    Each pair counts twice, once from each side. Neighbours outside `valid` or outside the image never count.
    The published code, without a mask, counts those outside the image as black pixels at position (0, 0),
    which adds a constant.
    Half precision is summed in single. Rounding `probs` to bfloat16, and the gradient back, moves the loss by
    about 1e-4 of itself and a value of the gradient by less than 1 % of it.

    Args:
        probs: (B, K, h, w) softmax probabilities; receives gradient, once (no double backward).
        rgb: (B, 3, h, w) ImageNet-normalised image averaged onto the same grid; receives no gradient.
        kernels: summed up.
        radius: of the window, in grid pixels.
        valid: (B, 1, h, w), gates the neighbour j: 1 inside the image, 0 in padding.
        destination: (B, 1, h, w), gates the centre i.

    Returns:
        Scalar >= 0: the sum over pairs, divided by the sum of `destination`, or without it that of `valid`,
        or without both B*h*w; the divisor is at least 1.

    Example:
        Two pixels of one colour, one px apart: k = exp(-1/2 / 36) = 0.9862. Their classes are (1, 0) and
        (0.5, 0.5), so 1 - <p_i, p_j> = 0.5. The pair counts twice, over two pixels: 0.9862 * 0.5.

        >>> probs = torch.tensor([[[[1.0, 0.5]], [[0.0, 0.5]]]])
        >>> gated_crf(probs, torch.zeros(1, 3, 1, 2))
        tensor(0.4931)
    """
    _check(probs, rgb, kernels, radius, valid, destination)
    wide = torch.float64 if probs.dtype == torch.float64 else torch.float32
    rgb = rgb.detach().to(probs.device, wide)
    gates = [None if mask is None else mask.detach().to(rgb) for mask in (valid, destination)]
    counted = [gate.sum() for gate in reversed(gates) if gate is not None]
    denom = counted[0].clamp(min=1) if counted else probs[:, 0].numel()

    return _PottsEnergy.apply(probs, rgb, tuple(kernels), radius, *gates) / denom


class _PottsEnergy(torch.autograd.Function):
    """sum_ij d_i v_j k_ij (1 - <p_i, p_j>); the forward pass also makes the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        probs: Tensor,
        rgb: Tensor,
        kernels: tuple[GatedCRFKernel, ...],
        radius: int,
        valid: Tensor | None,
        destination: Tensor | None,
    ) -> Tensor:
        if _has_kernel(probs):
            from weclick.losses.gated_crf_triton import pull_and_cost

            numbers = [(kernel.weight, kernel.sigma_xy, kernel.sigma_rgb) for kernel in kernels]
            pull, cost = pull_and_cost(probs, rgb, numbers, radius, valid, destination)
        else:
            pull, cost = _pull_and_cost(probs.to(rgb), rgb, kernels, radius, valid, destination)
        ctx.save_for_backward(pull)
        ctx.dtype = probs.dtype
        return 0.5 * cost.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "gated_crf has no second derivative: its gradient is made in the forward pass. "
                "Call backward() without create_graph=True, or leave gated_crf out of that loss."
            )
        (pull,) = ctx.saved_tensors
        return (-grads[0] * pull).to(ctx.dtype), None, None, None, None, None


def _has_kernel(probs: Tensor) -> bool:
    if not probs.is_cuda or probs.dtype == torch.float64 or find_spec("triton") is None:
        return False
    from weclick.losses.gated_crf_triton import runs_on

    return runs_on(probs.device)


def _pull_and_cost(
    probs: Tensor,
    rgb: Tensor,
    kernels: Sequence[GatedCRFKernel],
    radius: int,
    valid: Tensor | None,
    destination: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Pull g_i = sum_j w_ij p_j (B, K, h, w) and cost sum_j w_ij (1 - <p_i, p_j>) (B, 1, h, w), by pixel."""
    height, width = probs.shape[-2:]
    aside = min(radius, width - 1)
    pull, paid = torch.zeros_like(probs), torch.zeros_like(rgb[:, :1])
    pixels = _Pixels(probs, rgb, pull, paid, valid, destination)
    for images, rows in _blocks(probs):
        for dy in range(min(radius, height - 1 - rows.start) + 1):
            stop = min(rows.stop, height - dy)
            near = pixels.at((images, slice(None), slice(rows.start, stop)))
            far = pixels.at((images, slice(None), slice(rows.start + dy, stop + dy)))
            for dx in range(-aside if dy else 1, aside + 1):  # half a window: one of each opposite pair
                left, right = max(0, -dx), width - max(0, dx)
                here = near.at((..., slice(left, right)))
                there = far.at((..., slice(left + dx, right + dx)))
                red, green, blue = (here.rgb - there.rgb).square_().split(1, 1)
                weight = _affinity(kernels, float(dx**2 + dy**2), red.add_(green).add_(blue))
                weight *= _gate(here.destination, there.valid) + _gate(there.destination, here.valid)
                here.paid.add_(weight)
                there.paid.add_(weight)
                here.pull.addcmul_(weight, there.probs)
                there.pull.addcmul_(weight, here.probs)
    return pull, paid - (probs * pull).sum(1, keepdim=True)


class _Pixels(NamedTuple):
    """The inputs and outputs of some pixels, each (B, C, h, w)."""

    probs: Tensor
    rgb: Tensor
    pull: Tensor
    paid: Tensor
    valid: Tensor | None
    destination: Tensor | None

    def at(self, index: tuple) -> _Pixels:
        return _Pixels(*[None if each is None else each[index] for each in self])  # type: ignore[arg-type]


def _blocks(probs: Tensor) -> Iterator[tuple[slice, slice]]:
    """Images and rows to take at once: as many as a CPU's cache holds, or all on a GPU."""
    batch, classes, height, width = probs.shape
    rows = max(1, CACHED_CELLS // (classes * width)) if probs.device.type == "cpu" else batch * height
    images = max(1, rows // height)
    for first in range(0, batch, images):
        for top in range(0, height, rows):
            yield slice(first, first + images), slice(top, min(top + rows, height))


def _affinity(kernels: Sequence[GatedCRFKernel], squared_px: float | Tensor, squared_rgb: Tensor) -> Tensor:
    """k_ij, summed over kernels."""
    total = kernels[0](squared_px, squared_rgb)
    for kernel in kernels[1:]:
        total += kernel(squared_px, squared_rgb)
    return total


def _gate(destination: Tensor | None, valid: Tensor | None) -> Tensor | float:
    """d_i v_j."""
    if destination is None:
        return 1.0 if valid is None else valid
    return destination if valid is None else destination * valid


def _check(
    probs: Tensor,
    rgb: Tensor,
    kernels: Sequence[GatedCRFKernel],
    radius: int,
    valid: Tensor | None,
    destination: Tensor | None,
) -> None:
    check_four_axes("probs", probs, "(B, K, h, w)")
    batch, _, height, width = probs.shape
    check_shape(
        "rgb", rgb, (batch, 3, height, width), "average-pool the image onto the grid of the probabilities"
    )
    for name, mask in (("valid", valid), ("destination", destination)):
        if mask is not None:
            check_shape(
                name, mask, (batch, 1, height, width), "one value for each pixel of the probabilities"
            )
    if radius < 1 or not kernels:
        raise ValueError(
            f"radius is {radius} and there are {len(kernels)} kernels, expected at least 1 of each"
        )
    for kernel in kernels:
        sigmas = [sigma for sigma in (kernel.sigma_xy, kernel.sigma_rgb) if sigma is not None]
        if not all(sigma > 0 and math.isfinite(sigma) for sigma in sigmas):
            raise ValueError(
                f"{kernel} has a sigma that is no positive number; sigma_rgb=None leaves colour out"
            )
