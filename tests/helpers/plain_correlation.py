"""The correlation layer by its definition, with patches and steps. It is slow; tests compare with it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def correlation_plain(
    first: Tensor,
    second: Tensor,
    *,
    max_displacement: int = 20,
    stride: int = 2,
    padding: int | None = None,
    kernel_size: int = 1,
    first_stride: int = 1,
) -> Tensor:
    """The definition, one displacement after another.

    Args:
        first: (B, C, h, w).
        second: the same shape.
        max_displacement: as in `weclick.flow.flownet2.correlation`.
        stride: as in `weclick.flow.flownet2.correlation`.
        padding: zeros around both maps; None: max_displacement.
        kernel_size: side of the compared patches, odd; the mean also goes over a patch.
        first_stride: cells between the outputs.

    Returns:
        (B, D * D, h', w'), h' = ceil((h + 2 (padding - max_displacement - kernel_size // 2)) / first_stride):
        the first output is centred on cell `max_displacement` of the padded map.
    """
    padding = max_displacement if padding is None else padding
    reach, half = max_displacement // stride, kernel_size // 2
    height, width = (side + 2 * (padding - max_displacement - half) for side in first.shape[2:])
    first, second = (F.pad(each, (padding + half,) * 4) for each in (first, second))

    def patches(features: Tensor, dy: int, dx: int) -> Tensor:
        """The patches around the centre of every output, shifted by (dy, dx)."""
        top, left = max_displacement + dy, max_displacement + dx
        return features[:, :, top : top + height + 2 * half, left : left + width + 2 * half]

    centre = patches(first, 0, 0)
    shifts = [stride * step for step in range(-reach, reach + 1)]
    products = [(centre * patches(second, dy, dx)).mean(1, keepdim=True) for dy in shifts for dx in shifts]
    return torch.cat([F.avg_pool2d(each, kernel_size, stride=first_stride) for each in products], 1)
