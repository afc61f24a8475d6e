"""Which flow vectors to believe."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from weclick.geometry import masks_cpu
from weclick.geometry.grid import four_axes
from weclick.geometry.thresholds import ABSOLUTE_PX2, GREY_LEVELS, RELATIVE, WINDOW_PX
from weclick.geometry.warp import backward_warp

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV's grey


def forward_backward_valid(flow_fw: Tensor, flow_bw: Tensor) -> Tensor:
    """Where two opposite flows cancel (Sundaram et al. 2010).

    |fw + bw(fw)|^2 < RELATIVE (|fw|^2 + |bw(fw)|^2) + ABSOLUTE_PX2, where bw(fw) is the backward flow
    warped by fw. The numbers are those of the paper.

    Args:
        flow_fw: (B, 2, H, W) px, from the grid to be judged to the other frame.
        flow_bw: (B, 2, H, W) px, back from there.

    Returns:
        (B, 1, H, W) bool; false also where `flow_fw` leaves the image.
    """
    if masks_cpu.takes(flow_fw, flow_bw):
        return masks_cpu.forward_backward(flow_fw, flow_bw)
    back, valid = backward_warp(flow_bw, flow_fw)
    gap = (flow_fw + back).square().sum(1, keepdim=True)
    motion = (flow_fw.square() + back.square()).sum(1, keepdim=True)
    return valid & (gap < RELATIVE * motion + ABSOLUTE_PX2)


def photometric_valid(
    target: Tensor, neighbour: Tensor, flow: Tensor, threshold: float = GREY_LEVELS, window: int = WINDOW_PX
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
    alone = len(target) == len(neighbour) == len(flow)  # else torch repeats what stands once
    if window % 2 and alone and masks_cpu.takes(flow, images=(target, neighbour)):
        pairs = [(i, len(target) + i) for i in range(len(target))]
        return masks_cpu.photometric([*target, *neighbour], pairs, flow, threshold, window, LUMA)
    warped, valid = backward_warp(_grey(neighbour), flow)
    error = (_grey(target) - warped).abs()
    mean = F.avg_pool2d(error, window, stride=1, padding=window // 2, count_include_pad=False)
    return valid & (mean < threshold)


def photometric_valid_among(
    frames: Tensor,
    pairs: Sequence[tuple[int, int]],
    flow: Tensor,
    threshold: float = GREY_LEVELS,
    window: int = WINDOW_PX,
) -> Tensor:
    """As `photometric_valid`, of frames that several pairs share; on a CPU each is made grey once.

    Args:
        frames: (N, 3, H, W) RGB, 0..255, any dtype.
        pairs: B of (target, neighbour), positions in `frames`.
        flow: (B, 2, H, W) px, target -> neighbour.
        threshold, window: as there.

    Returns:
        (B, 1, H, W) bool.
    """
    if window % 2 and masks_cpu.takes(flow, images=[frames]):
        return masks_cpu.photometric([*frames], pairs, flow, threshold, window, LUMA)
    target, neighbour = (frames[list(each)] for each in zip(*pairs, strict=True))
    return photometric_valid(target, neighbour, flow, threshold, window)


def _grey(rgb: Tensor) -> Tensor:
    if four_axes(rgb, "rgb")[1] != 3:
        raise ValueError(f"rgb has shape {tuple(rgb.shape)}, expected (B, 3, H, W) with values 0..255")
    return (rgb.float() * rgb.new_tensor(LUMA, dtype=torch.float32).view(1, 3, 1, 1)).sum(1, keepdim=True)
