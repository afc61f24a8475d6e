"""The sums of Gated CRF on a GPU, in one kernel; needs Triton, which comes with torch on Linux.

A program holds one tile of pixels and some of the classes. It walks the whole window, makes k_ij from the
colours in registers and adds up k_ij p_j. It never writes anything of the window's size.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE_PX = (4, 32)
"""Rows and columns of a program's pixels; a row of 32 floats is one read of a warp."""
CLASSES_AT_ONCE = 16
"""Classes of a program. More of them make k_ij less often, but take registers: compiled for compute
capability 9.0, 8 take 48 of a thread's 255, 16 take 121, 32 take 235."""


@cache
def runs_on(device: torch.device) -> bool:
    """Whether Triton works for a device. Tries it once on one pixel, and warns if it fails.

    Triton compiles with the C compiler and the Python headers of the machine, which may be missing.
    """
    try:
        pixel = torch.ones(1, 1, 1, 1, device=device)
        pull_and_cost(pixel, pixel.expand(1, 3, 1, 1), ((1.0, 1.0, 1.0),), 1, None, None)
    except Exception as error:
        warnings.warn(
            f"Triton does not run on {device} ({type(error).__name__}: {error}), so Gated CRF takes its "
            "slower form without it; Triton needs a C compiler (gcc) and Python's headers",
            stacklevel=2,
        )
        return False
    return True


def pull_and_cost(
    probs: Tensor,
    rgb: Tensor,
    kernels: Sequence[tuple[float, float, float | None]],
    radius: int,
    valid: Tensor | None,
    destination: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Pull and cost of each pixel, as `gated_crf` sums them, in single precision.

    Args:
        probs: (B, K, h, w) bfloat16, float16 or float32.
        rgb: (B, 3, h, w) float32.
        kernels: (weight, sigma_xy, sigma_rgb or None) of each.
        radius: of the window, in grid pixels.
        valid: (B, 1, h, w) float32, gates the neighbour; None for ones.
        destination: (B, 1, h, w) float32, gates the centre; None for ones.

    Returns:
        Pull (B, K, h, w) and cost (B, n, h, w), the shares of n groups of classes; sum them over n.
    """
    batch, classes, height, width = probs.shape
    probs, rgb = probs.detach().contiguous(), rgb.contiguous()
    at_once = min(CLASSES_AT_ONCE, triton.next_power_of_2(classes))
    blocks = triton.cdiv(classes, at_once)
    pull = torch.empty(probs.shape, dtype=torch.float32, device=probs.device)
    cost = torch.empty((batch, blocks, height, width), dtype=torch.float32, device=probs.device)
    tiles = triton.cdiv(height, TILE_PX[0]) * triton.cdiv(width, TILE_PX[1])
    factors = tuple(
        (weight, 0.5 / sigma_xy**2, 0.0 if sigma_rgb is None else 0.5 / sigma_rgb**2)
        for weight, sigma_xy, sigma_rgb in kernels
    )
    with torch.cuda.device_of(probs):  # Triton launches on the current device, not on that of its arguments
        _walk_window[(tiles, blocks, batch)](
            probs,
            rgb,
            None if valid is None else valid.contiguous(),
            None if destination is None else destination.contiguous(),
            pull,
            cost,
            classes,
            height,
            width,
            min(radius, height - 1),
            min(radius, width - 1),
            KERNELS=factors,
            ROWS=TILE_PX[0],
            COLUMNS=TILE_PX[1],
            CLASSES=at_once,
        )
    return pull, cost


@triton.jit
def _walk_window(
    probs,
    rgb,
    valid,
    destination,
    pull,
    cost,
    classes,
    height,
    width,
    reach_y,
    reach_x,
    KERNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CLASSES: tl.constexpr,
):
    image = tl.program_id(2).to(tl.int64)
    block, blocks = tl.program_id(1), tl.num_programs(1)
    plane = height * width
    probs += image * classes * plane
    pull += image * classes * plane
    rgb += image * 3 * plane
    cost += (image * blocks + block) * plane
    if valid is not None:
        valid += image * plane
    if destination is not None:
        destination += image * plane

    across = tl.cdiv(width, COLUMNS)
    pixel = tl.arange(0, ROWS * COLUMNS)
    y = tl.program_id(0) // across * ROWS + pixel // COLUMNS
    x = tl.program_id(0) % across * COLUMNS + pixel % COLUMNS
    inside = (y < height) & (x < width)
    here = y * width + x
    kind = block * CLASSES + tl.arange(0, CLASSES)
    known = (kind < classes)[:, None]
    of_class = kind[:, None] * plane

    red = tl.load(rgb + here, inside, 0.0)
    green = tl.load(rgb + plane + here, inside, 0.0)
    blue = tl.load(rgb + 2 * plane + here, inside, 0.0)
    total = tl.zeros((ROWS * COLUMNS,), tl.float32)
    message = tl.zeros((CLASSES, ROWS * COLUMNS), tl.float32)
    for dy in range(-reach_y, reach_y + 1):
        for dx in range(-reach_x, reach_x + 1):
            within = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
            counts = inside & within & ((dy != 0) | (dx != 0))
            there = here + dy * width + dx
            d_red = tl.load(rgb + there, counts, 0.0) - red
            d_green = tl.load(rgb + plane + there, counts, 0.0) - green
            d_blue = tl.load(rgb + 2 * plane + there, counts, 0.0) - blue
            squared_rgb = d_red * d_red + d_green * d_green + d_blue * d_blue
            affinity = tl.zeros((ROWS * COLUMNS,), tl.float32)
            for n in tl.static_range(len(KERNELS)):
                exponent = KERNELS[n][1] * (dy * dy + dx * dx) + KERNELS[n][2] * squared_rgb
                affinity += KERNELS[n][0] * tl.exp(-exponent)
            affinity *= _pair_gate(destination, valid, here, there, inside, counts) + _pair_gate(
                destination, valid, there, here, counts, inside
            )
            affinity = tl.where(counts, affinity, 0.0)
            neighbour = tl.load(probs + of_class + there[None, :], known & counts[None, :], 0.0)
            message += affinity[None, :] * neighbour.to(tl.float32)
            total += affinity

    stored = known & inside[None, :]
    own = tl.load(probs + of_class + here[None, :], stored, 0.0).to(tl.float32)
    tl.store(pull + of_class + here[None, :], message, stored)
    paid = tl.where(block == 0, total, 0.0) - tl.sum(own * message, 0)
    tl.store(cost + here, paid, inside)


@triton.jit
def _pair_gate(destination, valid, centre, neighbour, at_centre, at_neighbour):
    """d_i v_j if both are in the image."""
    gate = tl.where(at_centre & at_neighbour, 1.0, 0.0)
    if destination is not None:
        gate *= tl.load(destination + centre, at_centre, 0.0)
    if valid is not None:
        gate *= tl.load(valid + neighbour, at_neighbour, 0.0)
    return gate
