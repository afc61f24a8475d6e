"""Memory-flow distillation against its formula in loops: weight, masked sum, what learns from what."""

import sys
from math import exp

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import reference_losses as reference
from helpers.reference_losses import assert_agree, value_and_gradients
from weclick.losses import consistency_matrix, memory_flow_distillation

MODES = ["exp_neg", "as_printed", "none"]
CASES = {
    "size": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "classes": st.integers(1, 4),
    "targets": st.integers(1, 2),
    "neighbours": st.integers(0, 4),
    "teacher": st.sampled_from(["soft", "one_hot"]),
    "masked": st.sampled_from(["no", "some", "all"]),
    "seed": st.integers(0, 2**31),
}
SWITCHES = {"mode": st.sampled_from(MODES), "reduction": st.sampled_from(["mean", "sum"])}


def pixel(*probs: float) -> torch.Tensor:
    return torch.tensor(probs, dtype=torch.float64).view(1, -1, 1, 1)


def random_case(seed=0, size=(3, 4), classes=3, targets=2, neighbours=2, teacher="soft", masked="some"):
    """Target (B, K, h, w), warped (M, K, h, w), teacher (B, K, h, w), valid (M, 1, h, w), target_of (M,)."""
    generator = torch.Generator().manual_seed(seed)
    target, warped, truth = (
        torch.randn(count, classes, *size, generator=generator, dtype=torch.float64).mul(2).softmax(1)
        for count in (targets, neighbours, targets)
    )
    if teacher == "one_hot":
        truth = (truth == truth.amax(1, keepdim=True)).double()
    valid = torch.rand(neighbours, 1, *size, generator=generator) > {"no": -1, "some": 0.4, "all": 1}[masked]
    return target, warped, truth, valid, torch.randint(0, targets, (neighbours,), generator=generator)


def both(case, switches, dtype):
    target, warped, teacher, valid, target_of = random_case(**case)
    target, warped, teacher = (each.to(dtype) for each in (target, warped, teacher))

    def ours(p, w):
        options = {**switches, "target_of": target_of, "stop_gradient": False}
        return memory_flow_distillation(p, w, teacher, valid, **options)

    def formula(p, w):
        return reference.memory_flow_distillation(p, w, teacher.double(), valid, target_of, **switches)

    return value_and_gradients(ours, target, warped), value_and_gradients(
        formula, target.double(), warped.double()
    )


@settings(max_examples=80, deadline=None)
@given(st.fixed_dictionaries(CASES), st.fixed_dictionaries(SWITCHES))
def test_equals_its_formula(case, switches):
    assert_agree(*both(case, switches, torch.float64), 1e-10)


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries(CASES), st.fixed_dictionaries(SWITCHES))
def test_single_precision_loses_little(case, switches):
    assert_agree(*both(case, switches, torch.float32), 1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(CASES),
    st.fixed_dictionaries(SWITCHES),
    st.sampled_from([torch.bfloat16, torch.float16]),
)
def test_half_precision_is_counted_in_single(case, switches, dtype):
    found, expected = both(case, switches, dtype)
    assert [each.dtype for each in found] == [torch.float32, dtype, dtype]
    assert_agree(found[:1], expected[:1], 1e-5)
    assert_agree(found[1:], expected[1:], torch.finfo(dtype).eps / 2 + 1e-5)  # rounded once


@pytest.mark.parametrize("classes", [2, 11, 19])
def test_what_bfloat16_costs(classes):
    target, warped, teacher, valid, target_of = random_case(1, (16, 16), classes, 2, 4)

    def loss(p, dtype):
        return memory_flow_distillation(p, warped.to(dtype), teacher.to(dtype), valid, target_of=target_of)

    value, gradient = value_and_gradients(lambda p: loss(p, torch.bfloat16), target.bfloat16())
    exact, expected = value_and_gradients(lambda p: loss(p, torch.float64), target)
    assert value.item() == pytest.approx(exact.item(), rel=1e-3)
    assert (gradient.double() - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("cached_values", [1, 3 * 4 * 2, 3 * 4 * 7 * 2])
def test_blocks_of_rows_and_images_add_up(cached_values, monkeypatch):
    target, warped, teacher, valid, target_of = random_case(2, (7, 4), 3, 2, 5)

    def loss(p, w):
        return memory_flow_distillation(p, w, teacher, valid, target_of=target_of, stop_gradient=False)

    whole = value_and_gradients(loss, target, warped)
    turned = (each.contiguous(memory_format=torch.channels_last) for each in (target, warped))
    assert_agree(value_and_gradients(loss, *turned), whole, 1e-14)
    monkeypatch.setattr(sys.modules["weclick.losses.blockwise"], "CACHED_VALUES", cached_values)
    assert_agree(value_and_gradients(loss, target, warped), whole, 1e-14)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_consistency_equals_its_formula(mode, dtype):
    _, warped, teacher, _, _ = random_case(3, (2, 3), 4)
    warped, teacher = warped.to(dtype), teacher.to(dtype)
    weight = consistency_matrix(warped, teacher, mode=mode)
    assert weight.dtype == dtype
    for at in np.ndindex(*weight.shape):
        expected = reference.consistency(warped[at].item(), teacher[at].item(), mode)
        assert weight[at].item() == pytest.approx(expected, rel=1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize(
    ("mode", "expected"), [("exp_neg", exp(-0.1)), ("as_printed", exp(0.1)), ("none", 1)]
)
def test_consistency_by_hand(mode, expected):
    weight = consistency_matrix(pixel(0.6, 0.4), pixel(0.5, 0.5), mode=mode)
    assert weight.flatten().tolist() == pytest.approx([expected] * 2)


@pytest.mark.parametrize("mode", MODES)
def test_consistency_is_a_constant(mode):
    warped, teacher = pixel(0.9, 0.1).requires_grad_(), pixel(0.9, 0.3).requires_grad_()
    weight = consistency_matrix(warped, teacher, mode=mode)
    assert weight[0, 0] == 1
    assert not weight.requires_grad
    assert (warped.tolist(), teacher.tolist()) == (pixel(0.9, 0.1).tolist(), pixel(0.9, 0.3).tolist())


@pytest.mark.parametrize(("mode", "factor"), [("exp_neg", exp(-0.1)), ("as_printed", exp(0.1)), ("none", 1)])
def test_loss_by_hand(mode, factor):
    loss = memory_flow_distillation(
        pixel(0.8, 0.2), pixel(0.6, 0.4), pixel(0.5, 0.5), torch.ones(1, 1, 1, 1), mode=mode
    )
    assert loss.item() == pytest.approx(factor * (0.2**2 + 0.2**2))


def test_the_map_adds_up_to_the_sum_and_learns_alike():
    target, *rest = random_case(4)
    rest, target_of = rest[:3], rest[3]
    options = {"target_of": target_of}
    pixels = memory_flow_distillation(target, *rest, reduction="none", **options)
    assert pixels.shape == (2, 1, 3, 4)
    assert not pixels[~rest[2]].any()
    assert_agree(
        value_and_gradients(
            lambda p: memory_flow_distillation(p, *rest, reduction="none", **options).sum(), target
        ),
        value_and_gradients(lambda p: memory_flow_distillation(p, *rest, reduction="sum", **options), target),
        1e-14,
    )


def test_without_target_of_each_target_has_one_neighbour():
    *case, _ = random_case(5)
    one_each = memory_flow_distillation(*case, target_of=torch.tensor([0, 1]))
    assert memory_flow_distillation(*case) == one_each


def test_pixels_that_are_not_valid_change_nothing_even_where_they_are_no_numbers():
    target, warped, teacher, valid, _ = random_case(6)
    broken = torch.where(valid, warped, torch.full_like(warped, torch.nan))
    found, expected = (
        value_and_gradients(lambda p, w=w: memory_flow_distillation(p, w, teacher, valid), target)
        for w in (broken, warped)
    )
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("stop_gradient", [True, False])
@pytest.mark.parametrize("neighbours", [0, 2])
def test_nothing_valid_gives_zero_and_zero_gradient(stop_gradient, neighbours):
    target, warped, teacher, valid, target_of = random_case(7, neighbours=neighbours, masked="all")
    options = {"target_of": target_of, "stop_gradient": stop_gradient}
    value, *gradients = value_and_gradients(
        lambda p, w: memory_flow_distillation(p, w, teacher, valid, **options), target, warped
    )
    assert value == 0
    assert not any(gradient.any() for gradient in gradients)


def test_only_the_target_learns_unless_told_otherwise():
    target, warped, teacher, valid = (
        x.requires_grad_() if x.is_floating_point() else x for x in random_case(8)[:4]
    )
    memory_flow_distillation(target, warped, teacher, valid).backward()
    assert target.grad.any()
    assert warped.grad is None
    assert teacher.grad is None
    memory_flow_distillation(target, warped, teacher, valid, stop_gradient=False).backward()
    assert warped.grad.any()
    assert teacher.grad is None


def test_gradient_by_the_target():
    target, warped, teacher, valid, target_of = random_case(9, neighbours=3)
    options = {"target_of": target_of}
    assert torch.autograd.gradcheck(
        lambda p: memory_flow_distillation(p, warped, teacher, valid, **options), target.requires_grad_()
    )


def test_gradient_by_both_where_the_weight_is_one():
    target, warped, teacher, valid, target_of = random_case(10, neighbours=3)
    options = {"target_of": target_of, "stop_gradient": False, "mode": "none"}
    assert torch.autograd.gradcheck(
        lambda p, w: memory_flow_distillation(p, w, teacher, valid, **options),
        (target.requires_grad_(), warped.requires_grad_()),
    )


def test_nothing_is_kept_but_what_was_given():
    target, warped, teacher, valid, target_of = random_case(11, (9, 9))
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        memory_flow_distillation(target.requires_grad_(), warped, teacher, valid, target_of=target_of)
    given = {each.data_ptr() for each in (target, warped, teacher, valid, target_of)}
    assert sum(tensor.numel() for tensor in kept if tensor.data_ptr() not in given) <= 2


def test_a_second_derivative_is_refused_with_a_way_out():
    target, *rest, _ = random_case()
    loss = memory_flow_distillation(target.requires_grad_(), *rest)
    with pytest.raises(RuntimeError, match=r"memory_flow_distillation has no second.*without create_graph"):
        torch.autograd.grad(loss, target, create_graph=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warped_probs": torch.zeros(1, 3, 4, 4)}, r"warped_probs has shape .*expected \(1, 2, 4, 4\)"),
        (
            {"warped_probs": torch.zeros(2, 2, 4, 4)},
            r"expected \(1, 2, 4, 4\).* each target \(see target_of\)",
        ),
        ({"target_of": torch.tensor([0, 0])}, r"warped_probs has shape .*expected \(2, 2, 4, 4\)"),
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_gives_what_the_cpu_gives_and_waits_for_nothing(mode, dtype):
    case = [x.to(dtype) if x.is_floating_point() else x for x in random_case(12, (31, 17), 19, 2, 5)]
    on_gpu = [each.cuda() for each in case]

    def run(target, warped, teacher, valid, target_of):
        options = {"target_of": target_of, "mode": mode, "stop_gradient": False}
        return value_and_gradients(
            lambda p, w: memory_flow_distillation(p, w, teacher, valid, **options), target, warped
        )

    torch.cuda.set_sync_debug_mode("error")
    try:
        found = run(*on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_agree(found, run(*case), max(1e-5, torch.finfo(dtype).eps))
