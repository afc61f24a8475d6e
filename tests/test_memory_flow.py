"""Memory-flow distillation: the weight, the masked sum, and what learns from what."""

from math import exp

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weclick.losses import consistency_matrix, memory_flow_distillation

SIGN = {"exp_neg": -1.0, "as_printed": 1.0}


def pixel(*probs: float) -> torch.Tensor:
    return torch.tensor(probs, dtype=torch.float64).view(1, -1, 1, 1)


def random_case(seed, size=(3, 4), classes=3):
    generator = torch.Generator().manual_seed(seed)
    target, warped, teacher = (
        torch.randn(2, classes, *size, generator=generator, dtype=torch.float64).softmax(1) for _ in range(3)
    )
    return target, warped, teacher, torch.rand(2, 1, *size, generator=generator) > 0.4


@pytest.mark.parametrize(
    ("mode", "expected"), [("exp_neg", exp(-0.1)), ("as_printed", exp(0.1)), ("none", 1)]
)
def test_consistency_by_hand(mode, expected):
    weight = consistency_matrix(pixel(0.6, 0.4), pixel(0.5, 0.5), mode=mode)
    assert weight.flatten().tolist() == pytest.approx([expected] * 2)


def test_consistency_trusts_agreement_most_and_is_a_constant():
    warped, teacher = pixel(0.9, 0.1).requires_grad_(), pixel(0.9, 0.3).requires_grad_()
    weight = consistency_matrix(warped, teacher)
    assert weight[0, 0] == 1 > weight[0, 1]
    assert not weight.requires_grad


@pytest.mark.parametrize(("mode", "factor"), [("exp_neg", exp(-0.1)), ("as_printed", exp(0.1)), ("none", 1)])
def test_loss_by_hand(mode, factor):
    loss = memory_flow_distillation(
        pixel(0.8, 0.2), pixel(0.6, 0.4), pixel(0.5, 0.5), torch.ones(1, 1, 1, 1), mode=mode
    )
    assert loss.item() == pytest.approx(factor * (0.2**2 + 0.2**2))


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    mode=st.sampled_from(["exp_neg", "as_printed"]),
    seed=st.integers(0, 2**31),
)
def test_equals_a_loop_over_valid_pixels(size, mode, seed):
    target, warped, teacher, valid = random_case(seed, size)
    total = 0.0
    for b, y, x in np.ndindex(2, *size):
        for c in range(3) if valid[b, 0, y, x] else ():
            weight = exp(SIGN[mode] * abs(warped[b, c, y, x] - teacher[b, c, y, x]))
            total += weight * (target[b, c, y, x] - warped[b, c, y, x]).item() ** 2
    count = max(int(valid.sum()), 1)
    arguments = target, warped, teacher, valid
    assert memory_flow_distillation(*arguments, mode=mode).item() == pytest.approx(total / count)
    assert memory_flow_distillation(*arguments, mode=mode, reduction="sum").item() == pytest.approx(total)


def test_the_map_adds_up_to_the_sum():
    case = random_case(0)
    pixels = memory_flow_distillation(*case, reduction="none")
    assert pixels.shape == (2, 1, 3, 4)
    assert not pixels[~case[3]].any()
    torch.testing.assert_close(pixels.sum(), memory_flow_distillation(*case, reduction="sum"))


def test_pixels_that_are_not_valid_change_nothing():
    target, warped, teacher, valid = random_case(1)
    before = memory_flow_distillation(target, warped, teacher, valid)
    warped = torch.where(valid, warped, torch.full_like(warped, torch.nan))
    assert memory_flow_distillation(target, warped, teacher, valid) == before


def test_no_valid_pixel_gives_zero_and_zero_gradient():
    target, warped, teacher, valid = random_case(2)
    target.requires_grad_()
    loss = memory_flow_distillation(target, warped, teacher, torch.zeros_like(valid))
    loss.backward()
    assert loss == 0
    assert not target.grad.any()


def test_only_the_target_learns_unless_told_otherwise():
    target, warped, teacher, valid = (
        x.requires_grad_() if x.is_floating_point() else x for x in random_case(3)
    )
    memory_flow_distillation(target, warped, teacher, valid).backward()
    assert target.grad.any()
    assert warped.grad is None
    assert teacher.grad is None
    memory_flow_distillation(target, warped, teacher, valid, stop_gradient=False).backward()
    assert warped.grad.any()
    assert teacher.grad is None


def test_gradient():
    target, warped, teacher, valid = random_case(4)
    assert torch.autograd.gradcheck(
        lambda t: memory_flow_distillation(t, warped, teacher, valid), target.requires_grad_()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warped_probs": torch.zeros(1, 3, 4, 4)}, r"warped_probs has shape .*expected \(1, 2, 4, 4\)"),
        ({"teacher_probs": torch.zeros(1, 2, 8, 8)}, r"teacher_probs has shape \(1, 2, 8, 8\)"),
        ({"valid": torch.ones(1, 4, 4)}, r"valid has shape \(1, 4, 4\), expected \(1, 1, 4, 4\)"),
        ({"target_probs": torch.zeros(4, 4)}, "target_probs has shape .* four axes"),
        ({"mode": "exp"}, "mode is 'exp', expected one of 'exp_neg', 'as_printed', 'none'"),
        ({"reduction": "max"}, "reduction is 'max', expected one of"),
    ],
)
def test_errors_teach(change, message):
    names = "target_probs", "warped_probs", "teacher_probs"
    arguments = {name: torch.zeros(1, 2, 4, 4) for name in names} | {"valid": torch.ones(1, 1, 4, 4)}
    with pytest.raises(ValueError, match=message):
        memory_flow_distillation(**{**arguments, **change})
