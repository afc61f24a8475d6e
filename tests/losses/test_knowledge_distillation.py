"""Knowledge distillation against its formula in loops; hard, quantised and missing teachers."""

import sys
from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import reference_losses as reference
from helpers.reference_losses import assert_agree, value_and_gradients
from weclick.losses import knowledge_distillation
from weclick.store.codecs import SOFT_LABEL_CODECS

DIRECTIONS = ["teacher_student", "student_teacher"]
SWITCHES = {
    "direction": st.sampled_from(DIRECTIONS),
    "temperature": st.sampled_from([0.5, 1.0, 2.0, 4.0]),
}
CASES = {
    "size": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "classes": st.integers(1, 4),
    "teacher": st.sampled_from(["soft", "peaky", "one_hot", "with_zeros", "all_zero", "not_normalised"]),
    "masked": st.sampled_from(["no", "some", "all"]),
    "seed": st.integers(0, 2**31),
}


def random_case(size=(3, 4), classes=3, teacher="soft", masked="some", seed=0, batch=2):
    """Logits and teacher (B, K, h, w), valid (B, 1, h, w) or None."""
    generator = torch.Generator().manual_seed(seed)
    logits, other = (
        3 * torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    probs = (5 * other if teacher == "peaky" else other).softmax(1)
    if teacher == "one_hot":
        probs = (other == other.amax(1, keepdim=True)).double()
    elif teacher == "with_zeros":
        probs = probs.where(other >= other.mean(1, keepdim=True), 0)
    elif teacher == "all_zero":  # as padding may be
        probs[..., 0] = 0
    elif teacher == "not_normalised":
        probs = 0.98 * probs
    valid = torch.rand(batch, 1, *size, generator=generator) > (0.4 if masked == "some" else 1)
    return logits, probs, None if masked == "no" else valid


def both(case, switches, dtype):
    logits, teacher, valid = random_case(**case)
    logits, teacher = logits.to(dtype), teacher.to(dtype)
    options = {**switches, "valid": valid}
    found = value_and_gradients(lambda z: knowledge_distillation(z, teacher, **options), logits)
    return found, value_and_gradients(
        lambda z: reference.knowledge_distillation(z, teacher.double(), **options), logits.double()
    )


@settings(max_examples=80, deadline=None)
@given(st.fixed_dictionaries(CASES), st.fixed_dictionaries(SWITCHES))
def test_equals_its_formula(case, switches):
    assert_agree(*both(case, switches, torch.float64), 1e-10)


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries(CASES), st.fixed_dictionaries(SWITCHES))
def test_single_precision_loses_little(case, switches):
    # KL(S || T) takes differences of logarithms up to 14, times the temperature
    assert_agree(*both(case, switches, torch.float32), 1e-5, atol=5e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(CASES),
    st.fixed_dictionaries(SWITCHES),
    st.sampled_from([torch.bfloat16, torch.float16]),
)
def test_half_precision_is_counted_in_single(case, switches, dtype):
    (value, gradient), expected = both(case, switches, dtype)
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    assert_agree([value], expected[:1], 1e-5)
    assert_agree([gradient], expected[1:], torch.finfo(dtype).eps / 2 + 1e-5, atol=5e-6)  # rounded once


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("classes", [2, 11, 19])
def test_what_bfloat16_costs(direction, classes):
    logits, teacher, valid = random_case((16, 16), classes, "peaky", seed=1)
    options = {"direction": direction, "valid": valid}
    value, gradient = value_and_gradients(
        lambda z: knowledge_distillation(z, teacher.bfloat16(), **options), logits.bfloat16()
    )
    exact, expected = value_and_gradients(lambda z: knowledge_distillation(z, teacher, **options), logits)
    assert value.item() == pytest.approx(exact.item(), rel=1e-3)
    assert (gradient.double() - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("cached_values", [1, 3 * 4 * 2, 3 * 4 * 7 * 2])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_blocks_of_rows_and_images_add_up(cached_values, direction, monkeypatch):
    logits, teacher, valid = random_case((7, 4), batch=5, seed=2)

    def loss(z):
        return knowledge_distillation(z, teacher, direction=direction, temperature=2.0, valid=valid)

    whole = value_and_gradients(loss, logits)
    channels_last = value_and_gradients(loss, logits.contiguous(memory_format=torch.channels_last))
    monkeypatch.setattr(sys.modules["weclick.losses.blockwise"], "CACHED_VALUES", cached_values)
    assert_agree(value_and_gradients(loss, logits), whole, 1e-14)
    assert_agree(channels_last, whole, 1e-14)


def test_values_by_hand():
    logits, teacher = torch.zeros(1, 2, 1, 1), torch.tensor([0.75, 0.25]).view(1, 2, 1, 1)
    expected = 0.75 * log(1.5) + 0.25 * log(0.5)
    assert knowledge_distillation(logits, teacher).item() == pytest.approx(expected)
    expected = 0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25)
    got = knowledge_distillation(logits, teacher, direction="student_teacher")
    assert got.item() == pytest.approx(expected)


def test_towards_the_student_it_is_what_torch_calls_kl_div():
    logits, teacher, _ = random_case()
    expected = F.kl_div(logits.log_softmax(1), teacher, reduction="sum") / (2 * 3 * 4)
    torch.testing.assert_close(knowledge_distillation(logits, teacher), expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_student_like_its_teacher_is_free(direction, temperature):
    logits, _, _ = random_case(seed=1)
    logits /= 3  # above the floor of KL(S || T)
    loss = knowledge_distillation(logits, logits.softmax(1), direction=direction, temperature=temperature)
    assert loss.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_pixels_that_are_not_valid_change_nothing(direction):
    logits, teacher, valid = random_case(seed=3)
    before = knowledge_distillation(logits, teacher, direction=direction, valid=valid)
    changed = torch.where(valid, teacher, teacher.flip(1))
    assert knowledge_distillation(logits, changed, direction=direction, valid=valid) == before


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("batch", "valid"), [(2, torch.zeros(2, 1, 3, 4)), (0, torch.zeros(0, 1, 3, 4)), (0, None)]
)
def test_nothing_valid_gives_zero_and_zero_gradient(direction, batch, valid):
    logits, teacher, _ = random_case(batch=batch, seed=4)
    value, gradient = value_and_gradients(
        lambda z: knowledge_distillation(z, teacher, direction=direction, valid=valid), logits
    )
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(logits))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("teacher", ["soft", "one_hot", "all_zero"])
def test_gradient_goes_to_the_student_alone(direction, temperature, teacher):
    logits, probs, valid = random_case(teacher=teacher, seed=5)
    options = {"direction": direction, "temperature": temperature, "valid": valid}
    probs.requires_grad_()
    knowledge_distillation(logits.clone().requires_grad_(), probs, **options).backward()
    assert probs.grad is None
    assert torch.autograd.gradcheck(
        lambda z: knowledge_distillation(z, probs, **options), logits.requires_grad_()
    )


def test_nothing_is_kept_but_what_was_given():
    logits, teacher, valid = random_case((9, 9), seed=6)
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        knowledge_distillation(logits.requires_grad_(), teacher, valid=valid)
    given = {logits.data_ptr(), teacher.data_ptr(), valid.data_ptr()}
    assert sum(tensor.numel() for tensor in kept if tensor.data_ptr() not in given) <= 2


def test_a_second_derivative_is_refused_with_a_way_out():
    logits, teacher, _ = random_case()
    loss = knowledge_distillation(logits.requires_grad_(), teacher)
    with pytest.raises(
        RuntimeError, match=r"knowledge_distillation has no second.*without create_graph=True"
    ):
        torch.autograd.grad(loss, logits, create_graph=True)


# --- soft labels as the store keeps them ------------------------------------------------------------------


def street_like(sharpness, classes=19, seed=0):
    """Logits of a student and probabilities of a teacher: soft borders, one class ahead in each region."""
    generator = torch.Generator().manual_seed(seed)
    teacher, noise = (torch.randn(2, classes, 6, 6, generator=generator) for _ in range(2))
    teacher, noise = (F.interpolate(x, size=(48, 48), mode="bicubic").double() for x in (teacher, noise))
    return sharpness * (teacher + 0.5 * noise), (sharpness * teacher).softmax(1)


def through_the_store(probs, codec):
    codec = SOFT_LABEL_CODECS[codec]
    stored = [torch.from_numpy(codec.encode(each)) for each in probs.float().numpy()]
    return codec.decode(torch.stack(stored), probs.shape[1]).double()


def divergence(probs, other):
    return torch.xlogy(probs, probs / other).sum(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("sharpness", [1.0, 4.0, 12.0])
@pytest.mark.parametrize("classes", [2, 11, 19])
def test_logarithms_of_8_bits_stay_within_the_stated_bound(temperature, sharpness, classes):
    _, teacher = street_like(sharpness, classes)
    exact, decoded = (
        (powers := probs ** (1 / temperature)) / powers.sum(1, keepdim=True)
        for probs in (teacher, through_the_store(teacher, "log8"))
    )
    step = 12 / 255
    bound = (step / temperature) ** 2 / 8 + classes * exp((step / 2 - 12) / temperature)
    assert 0 < divergence(exact, decoded).max() < bound
    assert bound < 4e-4 or temperature != 1


def loss_and_gradient_of_both(codec, sharpness, direction):
    """With stored soft labels, with the original ones, and how far these are from each other."""
    logits, teacher = street_like(sharpness)
    decoded = through_the_store(teacher, codec)
    return *(
        value_and_gradients(lambda z, t=t: knowledge_distillation(z, t, direction=direction), logits)
        for t in (decoded, teacher)
    ), divergence(teacher, decoded)


@pytest.mark.parametrize("sharpness", [1.0, 4.0, 12.0])
@pytest.mark.parametrize(
    ("codec", "of_teacher", "of_loss"),
    [("log8", 4e-4, 1e-3), ("root8", 2e-4, 1e-3), ("root6", 2e-3, 1e-2)],
)
def test_what_storing_does_to_the_loss_and_its_gradient(codec, of_teacher, of_loss, sharpness):
    found, expected, moved = loss_and_gradient_of_both(codec, sharpness, "teacher_student")
    assert 0 < moved.max() < of_teacher
    assert found[0].item() == pytest.approx(expected[0].item(), rel=of_loss)
    by_pixel = (found[1] - expected[1]).abs().sum(1) * moved.numel()
    assert 0 < by_pixel.max() < (2 * moved.max()).sqrt()  # Pinsker's inequality


@pytest.mark.parametrize(("sharpness", "of_loss"), [(1.0, 1e-3), (4.0, 1e-3), (12.0, 0.03)])
def test_what_storing_does_to_a_loss_that_reads_logarithms(sharpness, of_loss):
    found, expected, _ = loss_and_gradient_of_both("log8", sharpness, "student_teacher")
    assert found[0].item() == pytest.approx(expected[0].item(), rel=of_loss)
    assert found[0] != expected[0]


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_gives_what_the_cpu_gives_and_waits_for_nothing(direction, dtype):
    logits, teacher, valid = random_case((31, 17), 19, "peaky", seed=7)
    logits, teacher = logits.to(dtype), teacher.float()
    options = {"direction": direction, "temperature": 2.0}
    expected = value_and_gradients(
        lambda z: knowledge_distillation(z, teacher, valid=valid, **options), logits
    )
    on_gpu, teacher, valid = logits.cuda(), teacher.cuda(), valid.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = value_and_gradients(
            lambda z: knowledge_distillation(z, teacher, valid=valid, **options), on_gpu
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_agree(found, expected, max(1e-5, torch.finfo(dtype).eps))
