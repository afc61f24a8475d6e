"""Knowledge distillation from a teacher's stored probabilities (WeClick, Eq. 4; Hinton et al. 2015)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from weclick.losses.shapes import check_choice, check_four_axes, check_shape

TEACHER_FLOOR = 1e-6
"""Least teacher probability in KL(S || T), which is infinite where a (quantised) teacher says 0."""


def knowledge_distillation(
    student_logits: Tensor,
    teacher_probs: Tensor,
    *,
    direction: Literal["teacher_student", "student_teacher"] = "teacher_student",
    temperature: float = 1.0,
    valid: Tensor | None = None,
) -> Tensor:
    """Mean over pixels of the divergence between teacher and student.

    The paper prints KL(S || T), common code computes KL(T || S): both are here. At a temperature t both sides
    are softened, p^(1/t) normalised, and the loss is multiplied by t^2 to keep the size of its gradient.

    Args:
        student_logits: (B, K, h, w); receives gradient.
        teacher_probs: (B, K, h, w), non-negative; normalised here, so quantised ones need not sum to 1.
        direction: teacher_student is KL(T || S), student_teacher is KL(S || T).
        temperature: t > 0.
        valid: (B, 1, h, w) bool, pixels that count; None for all.

    Returns:
        Scalar >= 0; 0 with zero gradient where no pixel is valid.
    """
    check_choice("direction", direction, ("teacher_student", "student_teacher"))
    check_four_axes("student_logits", student_logits, "(B, K, h, w)")
    check_shape("teacher_probs", teacher_probs, student_logits.shape, "as student_logits")
    if temperature <= 0:
        raise ValueError(
            f"temperature is {temperature}, expected a positive number; 1 leaves both as they are"
        )

    log_student = torch.log_softmax(student_logits / temperature, dim=1)
    teacher = _soften(teacher_probs.detach().to(log_student), temperature)
    if direction == "teacher_student":
        divergence = (torch.xlogy(teacher, teacher) - teacher * log_student).sum(1, keepdim=True)
    else:
        log_teacher = teacher.clamp(min=TEACHER_FLOOR).log()
        divergence = (log_student.exp() * (log_student - log_teacher)).sum(1, keepdim=True)
    return _mean(divergence, valid) * temperature**2


def _soften(probs: Tensor, temperature: float) -> Tensor:
    powers = probs if temperature == 1 else probs.pow(1 / temperature)
    return powers / powers.sum(1, keepdim=True).clamp(min=torch.finfo(probs.dtype).tiny)


def _mean(divergence: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return divergence.mean()
    check_shape("valid", valid, divergence.shape, "one value for each pixel of student_logits")
    counted = torch.where(valid.bool(), divergence, torch.zeros_like(divergence))
    return counted.sum() / valid.bool().sum().clamp(min=1)
