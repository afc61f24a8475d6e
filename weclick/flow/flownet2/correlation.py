"""The correlation layer of FlowNetC: it compares a cell of one feature map with those around it in another.

Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015, Sec. 3, as in
FlowNet2's public code: kernel 1, stride 1 in the first map, products averaged over the channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_CELLS = 16
"""Columns of one small matrix product. Its window in the other map is 20 wider: few columns make many small
products, and many columns waste most of a product. 16 is the fastest at 64x128 cells on AVX-512."""


def correlation(first: Tensor, second: Tensor, *, max_displacement: int = 20, stride: int = 2) -> Tensor:
    """Mean over the channels of first[y, x] * second[y + dy, x + dx], for all (dy, dx) of a square window.

    One kernel computes it on a GPU with CuPy if no gradient is needed; otherwise matrix products do.

    Args:
        first: (B, C, h, w) floating point; receives gradient.
        second: the same shape; receives gradient.
        max_displacement: largest |dy| and |dx|, in cells.
        stride: cells between displacements.

    Returns:
        (B, D * D, h, w) with D = 2 * (max_displacement // stride) + 1, channel (dy + r) * D + (dx + r) for
        r = D // 2: dy is the slow one. The second map counts as 0 outside its border. The kernel returns
        float32, matrix products the inputs' type.

    Raises:
        ValueError: the maps differ in shape, or displacement and stride make no window.
    """
    _check(first, second, max_displacement, stride)
    wants_gradient = torch.is_grad_enabled() and (first.requires_grad or second.requires_grad)
    if first.is_cuda and not wants_gradient:
        from weclick.flow.flownet2.correlation_cuda import correlation_cupy, has_cupy

        if has_cupy():
            return correlation_cupy(first, second, max_displacement=max_displacement, stride=stride)
    return correlation_banded(first, second, max_displacement=max_displacement, stride=stride)


def correlation_banded(
    first: Tensor, second: Tensor, *, max_displacement: int = 20, stride: int = 2
) -> Tensor:
    """`correlation` by batched matrix products, one for each dy.

    Columns of one remainder modulo `stride` meet only each other. They are cut into blocks of n. A block
    times the n + D - 1 columns within its reach gives a small matrix, and its diagonals are the answer.
    """
    reach = max_displacement // stride
    displacements, wide = 2 * reach + 1, BLOCK_CELLS + 2 * reach
    batch, channels, height, width = first.shape
    blocks = -(-width // (stride * BLOCK_CELLS))
    spare = blocks * stride * BLOCK_CELLS - width
    sides, ends = reach * stride, (reach * stride, reach * stride)

    # (h, B, remainder, block, n, C), and the columns in reach (h + 2 r s, B, remainder, block, C, n + 2 r)
    left = F.pad(first / channels, (0, spare)).unflatten(3, (blocks, BLOCK_CELLS, stride))
    left = left.permute(2, 0, 5, 3, 4, 1).contiguous()
    right = F.pad(second, (sides, sides + spare, *ends)).unflatten(3, (-1, stride)).permute(2, 0, 4, 3, 1)
    right = right.unfold(3, wide, BLOCK_CELLS).contiguous()

    rows = []
    for dy in range(displacements):
        window = right[dy * stride : dy * stride + height]
        products = left.flatten(0, 3) @ window.flatten(0, 3)
        diagonals = products.as_strided(
            (products.shape[0], BLOCK_CELLS, displacements), (BLOCK_CELLS * wide, wide + 1, 1)
        )
        rows.append(diagonals.view(height, batch, stride, blocks, BLOCK_CELLS, displacements))
    # (dy, h, B, remainder, block, n, dx) -> (B, dy, dx, h, w)
    out = torch.stack(rows).permute(2, 0, 6, 1, 4, 5, 3).flatten(4, 6)[..., :width]
    return out.reshape(batch, displacements**2, height, width)


def _check(first: Tensor, second: Tensor, max_displacement: int, stride: int) -> None:
    if first.ndim != 4 or first.shape != second.shape:
        raise ValueError(
            f"first has shape {tuple(first.shape)} and second {tuple(second.shape)}, expected the same "
            "(B, C, h, w); crop or resize one of them"
        )
    if max_displacement < 0 or stride < 1:
        raise ValueError(
            f"max_displacement is {max_displacement} and stride {stride}, expected at least 0 and 1 cells"
        )
