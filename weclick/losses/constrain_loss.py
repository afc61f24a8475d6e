"""Constrain loss: what the network says shall be what a dense CRF makes of it (SEC, DSRG)."""

from __future__ import annotations

from torch import Tensor

from weclick.losses.image_cues import FLOOR, floored_softmax
from weclick.losses.shapes import check_four_axes, check_shape


def constrain_loss(logits: Tensor, crf: Tensor) -> Tensor:
    """Mean over pixels of KL(q || p), which pulls borders to those of the image.

        L = mean_u sum_c q_c(u) log(q_c(u) / p_c(u))

    with p = (softmax + 1e-4), renormalised, and q the CRF's probabilities, at least 1e-4, renormalised
    (Kolesnikov and Lampert 2016, Eq. 5, https://arxiv.org/abs/1603.06098). q is a constant. SEC's first code
    also sends a gradient through q, by a formula that is not its derivative.

    Args:
        logits: (B, K, h, w) floating point. Half precision is counted in single.
        crf: (B, K, h, w) probabilities, as of `mean_field`; receives no gradient.

    Returns:
        Scalar >= 0, float32 or float64.

    Raises:
        ValueError: shapes disagree.

    Example:
        The CRF is sure, the network cannot decide between two classes: log 2 less the entropy of the floor.

        >>> import torch
        >>> constrain_loss(torch.zeros(1, 2, 1, 1), torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
        tensor(0.6921)
    """
    check_four_axes("logits", logits, "(B, K, h, w)")
    check_shape("crf", crf, logits.shape, "as the logits")
    probs = floored_softmax(logits)
    target = crf.detach().to(probs).clamp(min=FLOOR)
    target = target / target.sum(1, keepdim=True)
    pixels = (target * (target.log() - probs.log())).sum(1)
    return pixels.sum() / max(1, pixels.numel())
