"""Memory-flow distillation: the target learns from its neighbour along the flow (WeClick, Eqs. 2 and 3).

    L = sum_c W_c (p_c - w_c)^2        dL/dp_c = -dL/dw_c = 2 W_c (p_c - w_c)

with p the target's probabilities, w the warped neighbour's and W the consistency matrix, a constant. Forward
and backward go block by block. Between them only the inputs are kept.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from weclick.losses.blockwise import blocks, refuse_second_derivative, wide_dtype
from weclick.losses.shapes import check_choice, check_four_axes, check_shape

ConsistencyMode = Literal["exp_neg", "as_printed", "none"]
Reduction = Literal["mean", "sum", "none"]


def consistency_matrix(warped: Tensor, teacher: Tensor, *, mode: ConsistencyMode = "exp_neg") -> Tensor:
    """How far to trust a warped neighbour: W = exp(-|warped - teacher|), class by class (Eq. 2).

    The paper prints exp(+|.|), but says that W lowers unreliable regions; hence the minus.

    Args:
        warped: (B, K, h, w) the neighbour's probabilities, warped onto the target's grid.
        teacher: (B, K, h, w) the teacher's probabilities of the target.
        mode: exp_neg (the text), as_printed (the formula) or none (ones).

    Returns:
        (B, K, h, w), detached, since it is a weight and not to be learned. In 1/e..1, 1..e or 1, by mode.

    Raises:
        ValueError: shapes disagree, or the mode is unknown.

    Example:
        Neighbour and teacher agree on one class, and differ by 0.5 on the other: exp(0) and exp(-0.5).

        >>> warped, teacher = torch.tensor([0.0, 0.5]), torch.tensor([0.0, 1.0])
        >>> consistency_matrix(warped.view(1, 2, 1, 1), teacher.view(1, 2, 1, 1)).flatten()
        tensor([1.0000, 0.6065])
    """
    check_choice("mode", mode, ("exp_neg", "as_printed", "none"))
    check_shape("teacher", teacher, warped.shape, "as the warped probabilities")
    if mode == "none":
        return torch.ones_like(warped, requires_grad=False)
    gap = (warped.detach() - teacher.detach()).abs_()
    return (gap.neg_() if mode == "exp_neg" else gap).exp_()


def memory_flow_distillation(
    target_probs: Tensor,
    warped_probs: Tensor,
    teacher_probs: Tensor,
    valid: Tensor,
    *,
    target_of: Tensor | None = None,
    mode: ConsistencyMode = "exp_neg",
    stop_gradient: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """Sum over classes of W (target - warped)^2, over valid pixels (Eq. 3).

    Half precision is summed in single.

    Args:
        target_probs: (B, K, h, w) the student's probabilities of the targets; receives gradient, once (no
            double backward).
        warped_probs: (M, K, h, w) those of their neighbours, warped onto the targets' grid.
        teacher_probs: (B, K, h, w) the teacher's probabilities of the targets.
        valid: (M, 1, h, w) bool, where the warp can be believed.
        target_of: (M,) int64, the target that each neighbour belongs to; None: one neighbour each.
        mode: see `consistency_matrix`.
        stop_gradient: let the target learn from the neighbour, not the neighbour from the target.
        reduction: mean over valid pixels, sum over them, or none: the map (M, 1, h, w), 0 where not valid.

    Returns:
        Scalar (or map) >= 0, float32 or float64; 0 with zero gradient if no pixel is valid.

    Raises:
        ValueError: shapes disagree, or the mode or reduction is unknown.

    Example:
        Neighbour and teacher differ by 0.5 on both classes, hence W = exp(-0.5) = 0.6065. So do target and
        neighbour: 0.6065 * (0.5^2 + 0.5^2).

        >>> target, warped = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.full((1, 2, 1, 1), 0.5)
        >>> memory_flow_distillation(target, warped, target, torch.ones(1, 1, 1, 1, dtype=torch.bool))
        tensor(0.3033)
    """
    check_choice("mode", mode, ("exp_neg", "as_printed", "none"))
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    check_four_axes("target_probs", target_probs, "(B, K, h, w)")
    targets, *rest = target_probs.shape
    if target_of is None:
        target_of = torch.arange(targets, device=target_probs.device)
    neighbours = len(target_of)
    check_shape("warped_probs", warped_probs, (neighbours, *rest), "one for each target (see target_of)")
    check_shape("teacher_probs", teacher_probs, target_probs.shape, "as target_probs")
    check_shape("valid", valid, (neighbours, 1, *rest[1:]), "one value for each pixel of warped_probs")

    warped = warped_probs.detach() if stop_gradient else warped_probs
    error = _Error.apply(target_probs, warped, teacher_probs.detach(), target_of, mode)
    error = error.where(valid.bool(), 0)
    if reduction == "none":
        return error
    return error.sum() / valid.bool().sum().clamp(min=1) if reduction == "mean" else error.sum()


class _Error(torch.autograd.Function):
    """The weighted squared error of each pixel (M, 1, h, w)."""

    @staticmethod
    def forward(
        ctx: Any, target: Tensor, warped: Tensor, teacher: Tensor, target_of: Tensor, mode: ConsistencyMode
    ) -> Tensor:
        ctx.save_for_backward(target, warped, teacher, target_of)
        ctx.mode = mode
        error = torch.empty_like(warped[:, :1], dtype=wide_dtype(target))
        for at in blocks(warped):
            gap, weighted = _gaps(target, warped, teacher, target_of, at, mode)
            error[at] = weighted.mul_(gap).sum(1, keepdim=True)
        return error

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("memory_flow_distillation")
        target, warped, teacher, target_of = ctx.saved_tensors
        to_target = torch.zeros_like(target, dtype=wide_dtype(target))
        to_warped = torch.empty_like(warped) if ctx.needs_input_grad[1] else None
        for at in blocks(warped):
            _, weighted = _gaps(target, warped, teacher, target_of, at, ctx.mode)
            factor = 2 * grads[0][at]
            slope = weighted.mul_(factor).masked_fill_(factor == 0, 0)  # 0 also where a warp is not finite
            to_target[:, :, at[2]].index_add_(0, target_of[at[0]], slope)
            if to_warped is not None:
                to_warped[at] = slope.neg_()
        return to_target.to(target.dtype), to_warped, None, None, None


def _gaps(
    target: Tensor,
    warped: Tensor,
    teacher: Tensor,
    target_of: Tensor,
    at: tuple[slice, slice, slice],
    mode: ConsistencyMode,
) -> tuple[Tensor, Tensor]:
    """p - w and W (p - w) of a block of the neighbours."""
    images, _, rows = at
    wide, of = wide_dtype(target), target_of[images]
    fetched = warped[at].to(wide)
    trust = consistency_matrix(fetched, teacher[:, :, rows].index_select(0, of).to(wide), mode=mode)
    gap = target[:, :, rows].index_select(0, of).to(wide).sub_(fetched)
    return gap, trust.mul_(gap)
