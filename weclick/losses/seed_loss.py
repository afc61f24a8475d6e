"""Seed loss: cross-entropy at the cues of an image's classes (Kolesnikov and Lampert 2016, SEC)."""

from __future__ import annotations

from torch import Tensor

from weclick.losses.image_cues import floored_softmax, present_cues


def seed_loss(logits: Tensor, cues: Tensor, present: Tensor) -> Tensor:
    """Mean over images of the cross-entropy at an image's cues.

        L = - sum_{c in T} sum_{u in S_c} log p_c(u) / sum_{c in T} |S_c|

    with T the image's classes, S_c the cues of class c, and p = (softmax + 1e-4), renormalised (SEC, Eq. 2,
    https://arxiv.org/abs/1603.06098). The public code divides by 0 if an image has no cue; here it costs 0.

    Args:
        logits: (B, K, h, w) floating point. Class 0 is background. Half precision is counted in single.
        cues: (B, K, h, w) bool; a pixel without a class is of no cue.
        present: (B, K) bool, the classes of each image. Background always counts as present.

    Returns:
        Scalar in 0..9.3, float32 or float64; images without cues add 0 and zero gradient.

    Raises:
        ValueError: shapes disagree.

    Example:
        A network that cannot decide between two classes pays log 2 for each cue.

        >>> import torch
        >>> cues = torch.tensor([True, False]).view(1, 2, 1, 1)
        >>> seed_loss(torch.zeros(1, 2, 1, 1), cues, torch.tensor([[True, False]]))
        tensor(0.6931)
    """
    counted = present_cues(logits, cues, present)
    surprise = -floored_softmax(logits).log()
    images = (surprise * counted).sum((1, 2, 3)) / counted.sum((1, 2, 3)).clamp(min=1)
    return images.sum() / max(1, len(images))
