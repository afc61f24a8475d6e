"""Partial cross-entropy against its formula in loops, and against logits upsampled as a whole."""

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import reference_losses as reference
from helpers.reference_losses import assert_agree, value_and_gradients
from weclick.losses import partial_cross_entropy

CASES = {
    "grid": st.tuples(st.integers(1, 5), st.integers(1, 5)),
    "input_size": st.tuples(st.integers(1, 21), st.integers(1, 21)),
    "num_classes": st.integers(1, 4),
    "clicks": st.integers(0, 6),
    "weighted": st.booleans(),
    "whole_pixels": st.booleans(),
    "seed": st.integers(0, 2**31),
}


def random_case(grid, input_size, num_classes, clicks, weighted, whole_pixels, seed):
    """Logits (2, K, h, w), and how to call the loss; a third of the classes weighs nothing."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, num_classes, *grid, generator=generator, dtype=torch.float64)
    share = torch.rand(clicks, 2, generator=generator, dtype=torch.float64)
    position = share * torch.tensor(input_size) - (0 if whole_pixels else 0.5)
    image = torch.randint(0, 2, (clicks, 1), generator=generator)
    points = torch.cat([image, position.floor() if whole_pixels else position], 1)
    weights = torch.rand(num_classes, generator=generator, dtype=torch.float64).mul(1.5).sub(0.5).clamp(min=0)
    classes = torch.randint(0, num_classes, (clicks,), generator=generator)
    return (
        logits,
        (points, classes),
        {"input_size": input_size, "class_weights": weights if weighted else None},
    )


def both(case, dtype):
    logits, clicks, options = random_case(**case)
    logits = logits.to(dtype)
    found = value_and_gradients(lambda z: partial_cross_entropy(z, *clicks, **options), logits)
    return found, value_and_gradients(
        lambda z: reference.partial_cross_entropy(z, *clicks, **options), logits.double()
    )


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries(CASES))
def test_equals_its_formula(case):
    assert_agree(*both(case, torch.float64), 1e-10)


@settings(max_examples=30, deadline=None)
@given(st.fixed_dictionaries(CASES))
def test_single_precision_loses_little(case):
    assert_agree(*both(case, torch.float32), 1e-5)


@settings(max_examples=30, deadline=None)
@given(st.fixed_dictionaries(CASES))
def test_half_precision_is_counted_in_single(case):
    (value, gradient), expected = both(case, torch.bfloat16)
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    assert_agree([value], expected[:1], 1e-5)
    assert_agree([gradient], expected[1:], 2**-8, atol=2**-8)  # cells that many clicks share round every sum


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries(CASES | {"clicks": st.integers(1, 9), "whole_pixels": st.just(True)}))
def test_equals_cross_entropy_of_upsampled_logits(case):
    logits, clicks, options = random_case(**case)
    if options["class_weights"] is not None:
        options["class_weights"] += 0.1  # torch's weighted mean is 0 / 0 where no click weighs anything
    assert_agree(
        value_and_gradients(lambda z: partial_cross_entropy(z, *clicks, **options), logits),
        value_and_gradients(lambda z: reference.cross_entropy_of_upsampled(z, *clicks, **options), logits),
        1e-10,
    )


@pytest.mark.parametrize("y", [-0.5, 0.0, 15.0, 15.5])
@pytest.mark.parametrize("x", [-0.5, 11.5])
def test_a_click_on_the_border_reads_the_cells_of_the_border(y, x):
    logits = torch.randn(1, 3, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clicks = torch.tensor([[0.0, y, x]]), torch.tensor([1])
    corner = logits[:, :, 0 if y < 8 else 3, 0 if x < 6 else 2]
    expected = torch.nn.functional.cross_entropy(corner, clicks[1])
    torch.testing.assert_close(partial_cross_entropy(logits, *clicks, input_size=(16, 12)), expected)


def test_value_by_hand():
    logits = torch.tensor([[[[0.0, 4.0]], [[0.0, 0.0]]]])  # (1, 2, 1, 2): class 0 gains 4 to the right
    points = torch.tensor([[0.0, 0.0, 0.5]])  # between the cells' centres
    loss = partial_cross_entropy(logits, points, torch.tensor([0]), input_size=(1, 2))
    assert loss.item() == pytest.approx(log(1 + torch.e**-2))


def test_only_clicked_cells_learn():
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    points = torch.tensor([[0.0, 5.5, 9.5]])  # the centre of cell (1, 2) at stride 4
    partial_cross_entropy(logits, points, torch.tensor([1]), input_size=(16, 16)).backward()
    expected = torch.zeros(1, 2, 4, 4)
    expected[0, :, 1, 2] = torch.tensor([0.5, -0.5])
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 3.0])])
def test_a_batch_without_clicks_gives_zero_and_zero_gradient(weights):
    logits = torch.full((2, 3, 4, 4), torch.inf, requires_grad=True)
    loss = partial_cross_entropy(
        logits,
        torch.zeros(0, 3),
        torch.zeros(0, dtype=torch.int64),
        input_size=(16, 16),
        class_weights=weights,
    )
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_clicks_of_weightless_classes_alone_give_zero_and_zero_gradient():
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = partial_cross_entropy(
        logits,
        torch.zeros(1, 3),
        torch.tensor([0]),
        input_size=(12, 12),
        class_weights=torch.tensor([0.0, 1.0]),
    )
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_a_scribble_counts_as_one_click_however_long_it_is():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 4, 5, generator=generator, dtype=torch.float64)
    places = torch.tensor([[0.0, 2, 3], [0, 9, 1], [0, 4, 4], [0, 4, 5], [0, 4, 6]])
    classes = torch.tensor([0, 1, 2, 2, 2])

    def loss(which, **options):
        points = places[which], classes[which]
        return partial_cross_entropy(logits, *points, input_size=(12, 15), **options)

    weights = torch.tensor([1, 1, 1 / 3, 1 / 3, 1 / 3])
    found = loss([0, 1, 2, 3, 4], weights=weights)
    expected = (loss([0]) + loss([1]) + loss([2, 3, 4])) / 3
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)
    again = [0, 1, 2, 3, 4, 2, 3, 4]
    twice = torch.tensor([1, 1, *[1 / 6] * 6])
    torch.testing.assert_close(loss(again, weights=twice), expected, atol=1e-7, rtol=0)
    class_weights = torch.tensor([1.0, 2.0, 0.5])
    found = loss([0, 1, 2, 3, 4], weights=weights, class_weights=class_weights)
    expected = (loss([0]) + 2 * loss([1]) + 0.5 * loss([2, 3, 4])) / 3.5
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("class_weights", [None, torch.tensor([1.0, 2.0, 3.0])])
def test_weights_of_one_change_nothing(class_weights):
    logits, clicks, options = random_case((3, 4), (13, 15), 3, 6, False, False, seed=0)
    options["class_weights"] = class_weights
    found = partial_cross_entropy(logits, *clicks, **options, weights=torch.ones(6))
    torch.testing.assert_close(found, partial_cross_entropy(logits, *clicks, **options))


def test_gradient_with_weights_of_points():
    logits, clicks, options = random_case((3, 4), (13, 15), 3, 6, True, False, seed=0)
    weights = torch.tensor([1, 1, 0.25, 0.25, 0.25, 0.25])
    assert torch.autograd.gradcheck(
        lambda z: partial_cross_entropy(z, *clicks, **options, weights=weights), logits.requires_grad_()
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient(weighted):
    logits, clicks, options = random_case((3, 4), (13, 15), 3, 6, weighted, False, seed=0)
    assert torch.autograd.gradcheck(
        lambda z: partial_cross_entropy(z, *clicks, **options), logits.requires_grad_()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(3, 4, 4)}, r"logits has shape \(3, 4, 4\), expected four axes"),
        ({"points": torch.zeros(2, 2)}, r"points has shape \(2, 2\), expected \(2, 3\)"),
        ({"classes": torch.tensor([0])}, r"classes has shape \(1,\), expected \(2,\): one class a click"),
        ({"classes": torch.tensor([0, 3])}, r"class 3 of a click, expected 0\.\.2"),
        ({"classes": torch.tensor([-1, 0])}, r"class -1 of a click"),
        ({"points": torch.tensor([[0.0, 16, 0], [0, 0, 0]])}, r"point \[0.0, 16.0, 0.0\].*16x16 px; drop"),
        ({"points": torch.tensor([[1.0, 0, 0], [0, 0, 0]])}, "outside a batch of 1 inputs"),
        ({"class_weights": torch.ones(2)}, r"class_weights has shape \(2,\), expected \(3,\)"),
        ({"weights": torch.ones(3)}, r"weights has shape \(3,\), expected \(2,\): one weight a point"),
    ],
)
def test_errors_teach(change, message):
    arguments = {
        "logits": torch.zeros(1, 3, 4, 4),
        "points": torch.zeros(2, 3),
        "classes": torch.zeros(2, dtype=torch.int64),
        "input_size": (16, 16),
    }
    with pytest.raises(ValueError, match=message):
        partial_cross_entropy(**{**arguments, **change})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("clicks", [0, 9])
def test_a_gpu_gives_what_the_cpu_gives(clicks):
    logits, (points, classes), options = random_case((9, 7), (36, 28), 5, clicks, True, False, seed=1)
    logits = logits.float()

    def loss(z):
        return partial_cross_entropy(z, points.to(z.device), classes.to(z.device), **options)

    assert_agree(value_and_gradients(loss, logits.cuda()), value_and_gradients(loss, logits), 1e-5)
