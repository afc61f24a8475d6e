"""Knowledge distillation from a teacher's stored probabilities (WeClick, Eq. 4; Hinton et al. 2015).

With l = log softmax(z / t) of the student's logits z, p = exp(l) and the teacher's q, softened alike:

    KL(T || S) = sum_c q (log q - l)        its gradient by z / t:  p sum_c q - q
    KL(S || T) = sum_c p (l - log q)                                p (l - log q - KL)

Forward and backward both go block by block. Between them only the inputs are kept.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from weclick.losses.blockwise import blocks, refuse_second_derivative, wide_dtype
from weclick.losses.shapes import check_choice, check_four_axes, check_shape

TEACHER_FLOOR = 1e-6
"""Least teacher probability in KL(S || T), which is infinite if a (quantised) teacher says 0."""

Direction = Literal["teacher_student", "student_teacher"]


def knowledge_distillation(
    student_logits: Tensor,
    teacher_probs: Tensor,
    *,
    direction: Direction = "teacher_student",
    temperature: float = 1.0,
    valid: Tensor | None = None,
) -> Tensor:
    """Mean over pixels of the divergence between teacher and student.

    The paper prints KL(S || T), but common code computes KL(T || S); this function offers both. A temperature
    t softens both sides to p^(1/t), normalised. The loss is multiplied by t^2 to keep the size of its
    gradient. Half precision is summed in single.

    Stored soft labels count as the probabilities that they decode to, renormalised. If storing moved a
    teacher by KL(original || decoded) = d, then the gradient of KL(T || S), summed over a pixel's classes,
    moves by less than t sqrt(2 d) (Pinsker); the largest possible move is 2 t. For 8-bit logarithms (steps of
    s = 12/255 down to -12), d < (s/t)^2 / 8 + K e^(-12/t): 4e-4 at temperature 1 and 19 classes. A high
    temperature lifts values that were stored as the floor, so at t = 4 the bound says nothing. On smooth
    teachers of any sharpness KL(T || S) moves by less than 0.1 %. KL(S || T) reads log q itself, and moves by
    up to 3 % where a very sharp teacher falls below the floor.

    Args:
        student_logits: (B, K, h, w) floating point; receives gradient, once (no double backward).
        teacher_probs: (B, K, h, w), non-negative; normalised here, so quantised ones need not sum to 1.
            Pixels of zeros alone count as 0 in KL(T || S).
        direction: teacher_student is KL(T || S), student_teacher is KL(S || T).
        temperature: t > 0.
        valid: (B, 1, h, w) bool, pixels that count; None for all.

    Returns:
        Scalar >= 0, float32 or float64; 0 with zero gradient if no pixel is valid or there are no pixels.

    Raises:
        ValueError: shapes disagree, the direction is unknown, or the temperature is not positive.

    Example:
        The teacher is sure, the student cannot decide between two classes: log 2.

        >>> teacher = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
        >>> knowledge_distillation(torch.zeros(1, 2, 1, 1), teacher)
        tensor(0.6931)
    """
    check_choice("direction", direction, ("teacher_student", "student_teacher"))
    check_four_axes("student_logits", student_logits, "(B, K, h, w)")
    check_shape("teacher_probs", teacher_probs, student_logits.shape, "as student_logits")
    batch, _, height, width = student_logits.shape
    if valid is not None:
        check_shape("valid", valid, (batch, 1, height, width), "one value for each pixel of student_logits")
    if temperature <= 0:
        raise ValueError(
            f"temperature is {temperature}, expected a positive number; 1 leaves both as they are"
        )

    teacher_probs = teacher_probs.detach().to(student_logits.device)
    divergence = _Divergence.apply(student_logits, teacher_probs, direction, temperature)
    if valid is None:
        return divergence.sum() * (temperature**2 / max(1, divergence.numel()))
    counted = divergence.where(valid.bool(), 0)
    return counted.sum() * temperature**2 / valid.bool().sum().clamp(min=1)


class _Divergence(torch.autograd.Function):
    """The divergence of each pixel (B, 1, h, w)."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, teacher: Tensor, direction: Direction, temperature: float
    ) -> Tensor:
        ctx.save_for_backward(logits, teacher)
        ctx.direction, ctx.temperature = direction, temperature
        divergence = torch.empty_like(logits[:, :1], dtype=wide_dtype(logits))
        for at in blocks(logits):
            divergence[at] = _divergence(*_softened(logits[at], teacher[at], temperature), direction)
        return divergence

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("knowledge_distillation")
        logits, teacher = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for at in blocks(logits):
            softened = _softened(logits[at], teacher[at], ctx.temperature)
            gradient[at] = _gradient(*softened, grads[0][at] / ctx.temperature, ctx.direction)
        return gradient, None, None, None


def _softened(logits: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """The student's logits, the teacher's powers, and their sums over the classes: q = powers / sums."""
    logits, powers = logits.to(wide_dtype(logits)), teacher.to(wide_dtype(logits))
    if temperature != 1:
        logits, powers = logits / temperature, powers.pow(1 / temperature)
    return logits, powers, powers.sum(1, keepdim=True).clamp_(min=_tiny(powers))


def _divergence(logits: Tensor, powers: Tensor, sums: Tensor, direction: Direction) -> Tensor:
    log_student = torch.log_softmax(logits, 1)
    if direction == "student_teacher":
        log_ratio = log_student - _log_teacher(powers, sums)
        return log_student.exp_().mul_(log_ratio).sum(1, keepdim=True)
    log_powers = powers.clamp(min=_tiny(powers)).log_()  # makes 0 log 0 = 0 without a logarithm of 0
    crossed = log_powers.sub_(log_student).mul_(powers).sum(1, keepdim=True)
    return (crossed / sums - sums.log()).where(sums > _tiny(sums), 0)


def _gradient(logits: Tensor, powers: Tensor, sums: Tensor, factor: Tensor, direction: Direction) -> Tensor:
    """`factor` (B, 1, h, w) times the gradient of `_divergence` by the logits."""
    if direction == "student_teacher":
        log_student = torch.log_softmax(logits, 1)
        log_ratio = log_student - _log_teacher(powers, sums)
        student = log_student.exp_()
        log_ratio -= (student * log_ratio).sum(1, keepdim=True)
        return log_ratio.mul_(student).mul_(factor)
    factor = factor.where(sums > _tiny(sums), 0)
    return torch.softmax(logits, 1).mul_(factor).addcmul_(powers, factor / sums, value=-1)


def _log_teacher(powers: Tensor, sums: Tensor) -> Tensor:
    return (powers / sums).clamp_(min=TEACHER_FLOOR).log_()


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny
