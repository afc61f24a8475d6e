"""Cross-entropy at every labelled pixel: supervision by masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weclick.losses.blockwise import wide_dtype
from weclick.losses.shapes import check_four_axes, check_shape


def cross_entropy(logits: Tensor, labels: Tensor, *, ignore: int = 255) -> Tensor:
    """Mean cross-entropy over the labelled pixels of a batch.

    Upsamples the logits bilinearly (align_corners=False) to the size of the labels, as DeepLabv3 does (Chen
    et al. 2017, Sec. 4.1): labels at the logits' size would lose thin things. So it equals
    `partial_cross_entropy` with a click on every labelled pixel. Half precision is counted in single.

    Args:
        logits: (B, K, h, w) floating point.
        labels: (B, H, W) integer class ids in 0..K-1, or `ignore`.
        ignore: the value of pixels that do not count.

    Returns:
        Scalar >= 0, float32 or float64; 0 with zero gradient if a batch has no labelled pixel.

    Raises:
        ValueError: shapes disagree, or (checked on a CPU only) a label is outside its range.

    Example:
        A network that cannot decide between two classes pays log 2 for each labelled pixel.

        >>> cross_entropy(torch.zeros(1, 2, 1, 1), torch.tensor([[[0, 1], [255, 255]]]))
        tensor(0.6931)
    """
    check_four_axes("logits", logits, "(B, K, h, w)")
    check_shape("labels", labels, (len(logits), *labels.shape[-2:]), "(B, H, W), one class map a sample")
    if labels.device.type == "cpu":  # the check would make a GPU wait
        _check_labels(labels, logits.shape[1], ignore)
    labels = labels.to(logits.device)
    # Classes last: one row a pixel is a view then, and its cross-entropy has a deterministic kernel on a GPU.
    coarse = logits.to(wide_dtype(logits)).contiguous(memory_format=torch.channels_last)
    pixels = F.interpolate(coarse, labels.shape[-2:], mode="bilinear").permute(0, 2, 3, 1)
    rows = pixels.reshape(-1, logits.shape[1])
    total = F.cross_entropy(rows, labels.flatten().long(), ignore_index=ignore, reduction="none").sum()
    return total / (labels != ignore).sum().clamp(min=1)


def _check_labels(labels: Tensor, classes: int, ignore: int) -> None:
    unknown = (labels != ignore) & ((labels < 0) | (labels >= classes))
    if unknown.any():
        raise ValueError(
            f"class {int(labels[unknown][0])} of a label, expected 0..{classes - 1} or {ignore} (ignored)"
        )
