"""Knowledge distillation in both directions, with hard teachers, masks and temperatures."""

from math import exp, log

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from weclick.losses import knowledge_distillation

DIRECTIONS = ["teacher_student", "student_teacher"]


def random_case(seed, size=(3, 4), classes=3):
    generator = torch.Generator().manual_seed(seed)
    logits, teacher = (
        torch.randn(2, classes, *size, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return logits, teacher.softmax(1), torch.rand(2, 1, *size, generator=generator) > 0.4


def softened(values, temperature):
    powers = [value ** (1 / temperature) for value in values]
    return [power / sum(powers) for power in powers]


@settings(max_examples=25, deadline=None)
@given(
    direction=st.sampled_from(DIRECTIONS),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_equals_a_loop_over_pixels(direction, temperature, masked, seed):
    logits, probs, valid = random_case(seed, (2, 3))
    valid = valid if masked else torch.ones_like(valid)
    total = 0.0
    for b, y, x in np.ndindex(2, 2, 3):
        if valid[b, 0, y, x]:
            student = softened([exp(z) for z in logits[b, :, y, x].tolist()], temperature)
            teacher = softened(probs[b, :, y, x].tolist(), temperature)
            p, q = (teacher, student) if direction == "teacher_student" else (student, teacher)
            total += sum(a * log(a / c) for a, c in zip(p, q, strict=True)) * temperature**2
    loss = knowledge_distillation(
        logits, probs, direction=direction, temperature=temperature, valid=valid if masked else None
    )
    assert loss.item() == pytest.approx(total / max(int(valid.sum()), 1))


def test_values_by_hand():
    logits, teacher = torch.zeros(1, 2, 1, 1), torch.tensor([0.75, 0.25]).view(1, 2, 1, 1)
    expected = 0.75 * log(1.5) + 0.25 * log(0.5)
    assert knowledge_distillation(logits, teacher).item() == pytest.approx(expected)
    expected = 0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25)
    got = knowledge_distillation(logits, teacher, direction="student_teacher")
    assert got.item() == pytest.approx(expected)


def test_towards_the_student_it_is_what_torch_calls_kl_div():
    logits, teacher, _ = random_case(0)
    expected = F.kl_div(logits.log_softmax(1), teacher, reduction="sum") / (2 * 3 * 4)
    torch.testing.assert_close(knowledge_distillation(logits, teacher), expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_student_like_its_teacher_is_free(direction, temperature):
    logits, _, _ = random_case(1)
    loss = knowledge_distillation(logits, logits.softmax(1), direction=direction, temperature=temperature)
    assert loss.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_teacher_with_zeros_gives_finite_values_and_gradients(direction, temperature):
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    teacher = torch.zeros(1, 3, 2, 2)
    teacher[:, 0, 0] = 1  # the second row stays all zero, as padding of soft labels may be
    loss = knowledge_distillation(logits, teacher, direction=direction, temperature=temperature)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_quantised_probabilities_need_not_sum_to_one():
    logits, teacher, _ = random_case(2)
    torch.testing.assert_close(
        knowledge_distillation(logits, teacher * 0.98), knowledge_distillation(logits, teacher)
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_pixels_that_are_not_valid_change_nothing(direction):
    logits, teacher, valid = random_case(3)
    before = knowledge_distillation(logits, teacher, direction=direction, valid=valid)
    changed = torch.where(valid, teacher, teacher.flip(1))
    assert knowledge_distillation(logits, changed, direction=direction, valid=valid) == before


def test_no_valid_pixel_gives_zero_and_zero_gradient():
    logits, teacher, valid = random_case(4)
    loss = knowledge_distillation(logits.requires_grad_(), teacher, valid=torch.zeros_like(valid))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradient_goes_to_the_student_alone(direction):
    logits, teacher, valid = random_case(5)
    teacher.requires_grad_()
    knowledge_distillation(logits.clone().requires_grad_(), teacher, direction=direction).backward()
    assert teacher.grad is None
    assert torch.autograd.gradcheck(
        lambda x: knowledge_distillation(
            x, teacher.detach(), direction=direction, temperature=2, valid=valid
        ),
        logits.requires_grad_(),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student_logits": torch.zeros(4, 4)}, "student_logits has shape .* four axes"),
        ({"teacher_probs": torch.zeros(1, 2, 8, 8)}, r"teacher_probs has shape .* expected \(1, 2, 4, 4\)"),
        ({"valid": torch.ones(1, 4, 4)}, r"valid has shape \(1, 4, 4\), expected \(1, 1, 4, 4\)"),
        ({"direction": "both"}, "direction is 'both', expected one of 'teacher_student', 'student_teacher'"),
        ({"temperature": 0.0}, "temperature is 0.0, expected a positive number"),
    ],
)
def test_errors_teach(change, message):
    arguments = {"student_logits": torch.zeros(1, 2, 4, 4), "teacher_probs": torch.zeros(1, 2, 4, 4)}
    with pytest.raises(ValueError, match=message):
        knowledge_distillation(**{**arguments, **change})
