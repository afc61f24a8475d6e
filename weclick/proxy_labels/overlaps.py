"""How much masks overlap: the pixels they share, their IoU and IoM, and the IoU of their boxes."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_PX = 2**16
"""Pixels of one matrix product. So memory stays small, and counts stay below 2^24, exact in float32."""


def common_pixels(masks: Tensor, others: Tensor) -> Tensor:
    """(N, M) int64, how many pixels each of N masks shares with each of M.

    Args:
        masks: (N, H, W) bool.
        others: (M, H, W) bool.
    """
    ours, theirs = masks.flatten(1), others.flatten(1)
    found = torch.zeros(len(ours), len(theirs), dtype=torch.int64, device=ours.device)
    with torch.autocast(ours.device.type, enabled=False):  # half precision cannot count
        for start in range(0, ours.shape[1], BLOCK_PX):
            block = slice(start, start + BLOCK_PX)
            found += (ours[:, block].float() @ theirs[:, block].float().T).long()
    return found


def mask_iou(masks: Tensor, others: Tensor) -> Tensor:
    """(N, M) float64, common pixels over those of the union. Of two empty masks it is 0."""
    common = common_pixels(masks, others)
    return _ratio(common, areas(masks)[:, None] + areas(others) - common)


def mask_iom(masks: Tensor, others: Tensor) -> Tensor:
    """(N, M) float64, common pixels over those of the smaller mask. Of an empty mask it is 0."""
    return _ratio(common_pixels(masks, others), torch.minimum(areas(masks)[:, None], areas(others)))


def box_iou(masks: Tensor, others: Tensor) -> Tensor:
    """(N, M) float64, the IoU of the masks' boxes. Of an empty mask it is 0."""
    ours, theirs = boxes(masks)[:, None], boxes(others)
    sides = torch.minimum(ours[..., 2:], theirs[..., 2:]) - torch.maximum(ours[..., :2], theirs[..., :2])
    common = sides.clamp(min=0).prod(-1)
    sizes = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (ours, theirs)]
    return _ratio(common, sizes[0] + sizes[1] - common)


def areas(masks: Tensor) -> Tensor:
    """(N,) int64 px."""
    return masks.flatten(1).sum(1)


def boxes(masks: Tensor) -> Tensor:
    """(N, 4) int64 (x0, y0, x1, y1) px: the first column and row, and those behind the last; 0 if empty."""
    left, right = _span(masks.any(1))
    top, bottom = _span(masks.any(2))
    return torch.stack([left, top, right, bottom], 1)


def _span(lines: Tensor) -> tuple[Tensor, Tensor]:
    """The first position that is true in each of (N, L), and the one behind the last."""
    numbers, some = lines.to(torch.uint8), lines.any(1)  # argmax takes no bool
    first, behind = numbers.argmax(1), lines.shape[1] - numbers.flip(1).argmax(1)
    return first * some, behind * some


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part.double() / whole.clamp(min=1)
