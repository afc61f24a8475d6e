"""Memory-flow distillation: the target learns from its neighbour along the flow (WeClick, Eqs. 2 and 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from weclick.losses.shapes import check_choice, check_four_axes, check_shape

ConsistencyMode = Literal["exp_neg", "as_printed", "none"]
Reduction = Literal["mean", "sum", "none"]


def consistency_matrix(warped: Tensor, teacher: Tensor, *, mode: ConsistencyMode = "exp_neg") -> Tensor:
    """How far to trust a warped neighbour: W = exp(-|warped - teacher|), class by class (Eq. 2).

    The paper prints exp(+|.|), but says that it lowers unreliable regions; hence the minus.

    Args:
        warped: (B, K, h, w) the neighbour's probabilities, warped onto the target's grid.
        teacher: (B, K, h, w) the teacher's probabilities of the target.
        mode: exp_neg (the text), as_printed (the formula) or none (ones).

    Returns:
        (B, K, h, w), detached: a weight, not something to learn.
    """
    check_choice("mode", mode, ("exp_neg", "as_printed", "none"))
    check_shape("teacher", teacher, warped.shape, "as the warped probabilities")
    gap = (warped.detach() - teacher.detach()).abs()
    if mode == "none":
        return torch.ones_like(gap)
    return torch.exp(-gap if mode == "exp_neg" else gap)


def memory_flow_distillation(
    target_probs: Tensor,
    warped_probs: Tensor,
    teacher_probs: Tensor,
    valid: Tensor,
    *,
    mode: ConsistencyMode = "exp_neg",
    stop_gradient: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """Sum over classes of W (target - warped)^2, over valid pixels (Eq. 3).

    Args:
        target_probs: (B, K, h, w) the student's probabilities of the target; receives gradient.
        warped_probs: (B, K, h, w) those of a neighbour, warped onto the target's grid.
        teacher_probs: (B, K, h, w) the teacher's probabilities of the target.
        valid: (B, 1, h, w) bool, where the warp can be believed.
        mode: see `consistency_matrix`.
        stop_gradient: let the target learn from the neighbour, not the neighbour from the target.
        reduction: mean over valid pixels, sum over them, or none: the map (B, 1, h, w), 0 where not valid.

    Returns:
        Scalar (or map); 0 with zero gradient where no pixel is valid.
    """
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    check_four_axes("target_probs", target_probs, "(B, K, h, w)")
    batch, _, height, width = target_probs.shape
    check_shape("warped_probs", warped_probs, target_probs.shape, "as target_probs")
    check_shape("teacher_probs", teacher_probs, target_probs.shape, "as target_probs")
    check_shape("valid", valid, (batch, 1, height, width), "one value for each pixel of target_probs")

    trust = consistency_matrix(warped_probs, teacher_probs, mode=mode)
    gap = target_probs - (warped_probs.detach() if stop_gradient else warped_probs)
    error = (trust * gap.square()).sum(1, keepdim=True)
    error = torch.where(valid.bool(), error, torch.zeros_like(error))
    if reduction == "none":
        return error
    return error.sum() / valid.bool().sum().clamp(min=1) if reduction == "mean" else error.sum()
