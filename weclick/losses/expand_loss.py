"""Expand loss: an image's classes take up some of it, and other classes none (SEC)."""

from __future__ import annotations

import torch
from torch import Tensor

from weclick.losses.image_cues import floored_softmax, present_classes


def expand_loss(
    logits: Tensor, present: Tensor, *, foreground: float = 0.996, background: float = 0.999
) -> Tensor:
    """Mean over images of the cross-entropy of pooled probabilities with the image's classes.

        L = - mean_{c in T, c > 0} log G_c(d_foreground) - mean_{c not in T} log(1 - max_u p_c(u))
            - log G_0(d_background),         G_c(d) = sum_k d^k p_c^(k) / sum_k d^k

    with T the image's classes, p = (softmax + 1e-4), renormalised, and p_c^(k) its pixels in falling order
    (Kolesnikov and Lampert 2016, Eqs. 3 and 4, https://arxiv.org/abs/1603.06098). G lies between the maximum
    (d = 0) and the mean (d = 1). The public code divides by 0 where one of the sets is empty; here its mean
    is 0.

    Args:
        logits: (B, K, h, w) floating point. Class 0 is background. Half precision is counted in single.
        present: (B, K) bool, the classes of each image. Background always counts as present.
        foreground: decay d of an image's classes, in 0..1. SEC's values are made for 41x41 pixels.
        background: decay d of the background.

    Returns:
        Scalar >= 0, float32 or float64.

    Raises:
        ValueError: shapes disagree, or a decay is outside 0..1.

    Example:
        Class 1 is there, class 2 is not, and the network cannot decide: log 3 + log(3/2) + log 3.

        >>> expand_loss(torch.zeros(1, 3, 2, 2), torch.tensor([[True, True, False]]))
        tensor(2.6027)
    """
    classes = present_classes(logits, present)[:, 1:]
    _check_decay("foreground", foreground)
    _check_decay("background", background)
    probs = floored_softmax(logits).flatten(2)
    falling = torch.sort(probs, dim=2, descending=True, stable=True).values
    there = -_pooled(falling[:, 1:], foreground).log()
    absent = -(1 - falling[:, 1:, 0]).log()
    background_there = -_pooled(falling[:, 0], background).log()
    images = _mean_over(there, classes) + _mean_over(absent, ~classes) + background_there
    return images.sum() / max(1, len(images))


def _pooled(falling: Tensor, decay: float) -> Tensor:
    """Weighted mean over the last axis, in falling order."""
    weights = decay ** torch.arange(falling.shape[-1], dtype=torch.float64, device=falling.device)
    return (falling * (weights / weights.sum()).to(falling.dtype)).sum(-1)


def _mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Each image's mean over its chosen classes (B,); 0 where none is chosen."""
    return (values * chosen).sum(1) / chosen.sum(1).clamp(min=1)


def _check_decay(name: str, decay: float) -> None:
    if not 0 <= decay <= 1:
        raise ValueError(f"{name} is {decay}, expected a decay in 0..1: 0 pools by maximum, 1 by mean")
