"""Cross-entropy at labelled pixels against its formula in loops, and against clicks on every pixel."""

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import reference_losses as reference
from helpers.reference_losses import assert_agree, value_and_gradients
from weclick.losses import cross_entropy, partial_cross_entropy

CASES = {
    "grid": st.tuples(st.integers(1, 3), st.integers(1, 4)),
    "size": st.tuples(st.integers(1, 9), st.integers(1, 9)),
    "num_classes": st.integers(1, 4),
    "ignored": st.sampled_from([0.0, 0.5, 1.0]),
    "seed": st.integers(0, 2**31),
}


def random_case(grid, size, num_classes, ignored, seed):
    """Logits (2, K, h, w) and labels (2, H, W), of which a share is ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, num_classes, *grid, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, num_classes, (2, *size), generator=generator, dtype=torch.uint8)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    return logits, labels


def clicks_of(labels):
    """A click on every labelled pixel."""
    points = (labels != 255).nonzero()
    return points.double(), labels[tuple(points.T)].long()


def both(case, dtype):
    logits, labels = random_case(**case)
    found = value_and_gradients(lambda z: cross_entropy(z, labels), logits.to(dtype))
    points, classes = clicks_of(labels)
    formula = value_and_gradients(
        lambda z: reference.partial_cross_entropy(z, points, classes, tuple(labels.shape[-2:])),
        logits.to(dtype).double(),
    )
    return found, formula


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries(CASES))
def test_equals_its_formula(case):
    assert_agree(*both(case, torch.float64), 1e-10)


@settings(max_examples=20, deadline=None)
@given(st.fixed_dictionaries(CASES))
def test_single_precision_loses_little(case):
    assert_agree(*both(case, torch.float32), 1e-5)


@settings(max_examples=20, deadline=None)
@given(st.fixed_dictionaries(CASES))
def test_half_precision_is_counted_in_single(case):
    (value, gradient), expected = both(case, torch.bfloat16)
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    assert_agree([value], expected[:1], 1e-5)
    assert_agree([gradient], expected[1:], 2**-8, atol=2**-8)


@settings(max_examples=20, deadline=None)
@given(st.fixed_dictionaries(CASES))
def test_equals_a_click_on_every_labelled_pixel(case):
    logits, labels = random_case(**case)
    points, classes = clicks_of(labels)
    assert_agree(
        value_and_gradients(lambda z: cross_entropy(z, labels), logits),
        value_and_gradients(
            lambda z: partial_cross_entropy(z, points, classes, input_size=tuple(labels.shape[-2:])), logits
        ),
        1e-10,
    )


def test_value_by_hand():
    logits = torch.tensor([[[[0.0, 4.0]], [[0.0, 0.0]]]])  # (1, 2, 1, 2): class 0 gains 4 to the right
    labels = torch.tensor([[[0, 1]]])
    assert cross_entropy(logits, labels).item() == pytest.approx((log(2) + log(1 + torch.e**4)) / 2)


def test_ignored_pixels_do_not_count():
    logits, labels = random_case((3, 4), (12, 16), 3, 0.5, seed=0)
    loud = logits.clone()
    labels[1] = 255
    loud[1] += 100 * torch.randn(loud[1].shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(cross_entropy(logits, labels), cross_entropy(loud, labels))


def test_nothing_labelled_gives_zero_and_zero_gradient():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = cross_entropy(logits, torch.full((2, 16, 16), 255, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_gradient():
    logits, labels = random_case((3, 4), (7, 9), 3, 0.3, seed=0)
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, labels), logits.requires_grad_())


def test_another_value_may_be_ignored():
    logits, labels = random_case((2, 2), (4, 4), 3, 0.5, seed=3)
    other = torch.where(labels == 255, 77, labels)
    assert torch.equal(cross_entropy(logits, other, ignore=77), cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(3, 4, 4)}, r"logits has shape \(3, 4, 4\), expected four axes"),
        (
            {"labels": torch.zeros(2, 8, 8, dtype=torch.uint8)},
            r"labels has shape \(2, 8, 8\), expected \(1, 8, 8\): \(B, H, W\), one class map",
        ),
        ({"labels": torch.full((1, 8, 8), 3)}, r"class 3 of a label, expected 0\.\.2 or 255 \(ignored\)"),
        ({"labels": torch.full((1, 8, 8), -1)}, "class -1 of a label"),
    ],
)
def test_errors_teach(change, message):
    arguments = {"logits": torch.zeros(1, 3, 4, 4), "labels": torch.zeros(1, 8, 8, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=message):
        cross_entropy(**{**arguments, **change})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_what_the_cpu_gives_also_with_deterministic_algorithms():
    logits, labels = random_case((9, 7), (36, 28), 5, 0.3, seed=1)
    logits = logits.float()

    def loss(z):
        return cross_entropy(z, labels.to(z.device))

    torch.use_deterministic_algorithms(True)
    try:
        found = value_and_gradients(loss, logits.cuda())
    finally:
        torch.use_deterministic_algorithms(False)
    assert_agree(found, value_and_gradients(loss, logits), 1e-5)
