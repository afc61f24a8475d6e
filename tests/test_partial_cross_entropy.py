"""Partial cross-entropy against cross-entropy of logits upsampled as a whole."""

from math import log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from weclick.losses import partial_cross_entropy


def by_upsampling(logits, points, classes, input_size, class_weights=None):
    full = F.interpolate(logits, size=input_size, mode="bilinear", align_corners=False)
    batch, y, x = points.long().T
    return F.cross_entropy(full[batch, :, y, x], classes, weight=class_weights)


def random_clicks(generator, count, batch, input_size, num_classes):
    columns = [torch.randint(0, high, (count,), generator=generator) for high in (batch, *input_size)]
    return torch.stack(columns, 1).double(), torch.randint(0, num_classes, (count,), generator=generator)


@settings(max_examples=40, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    input_size=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    clicks=st.integers(1, 9),
    weighted=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_equals_cross_entropy_of_upsampled_logits(grid, input_size, clicks, weighted, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, *grid, generator=generator, dtype=torch.float64)
    points, classes = random_clicks(generator, clicks, 2, input_size, 4)
    weights = torch.rand(4, generator=generator, dtype=torch.float64) + 0.1 if weighted else None
    loss = partial_cross_entropy(logits, points, classes, input_size=input_size, class_weights=weights)
    torch.testing.assert_close(loss, by_upsampling(logits, points, classes, input_size, weights))


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


def test_clicks_of_weightless_classes_alone_give_zero():
    loss = partial_cross_entropy(
        torch.randn(1, 2, 3, 3),
        torch.zeros(1, 3),
        torch.tensor([0]),
        input_size=(12, 12),
        class_weights=torch.tensor([0.0, 1.0]),
    )
    assert loss.item() == 0


def test_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    points, classes = random_clicks(generator, 6, 2, (13, 15), 3)
    assert torch.autograd.gradcheck(
        lambda x: partial_cross_entropy(x, points, classes, input_size=(13, 15)), logits
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
