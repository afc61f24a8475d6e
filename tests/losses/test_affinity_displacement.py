"""IRN's losses against their formulas in loops."""

import numpy as np
import pytest
import torch

from helpers import dense_relations as dense
from weclick.losses import affinity_displacement
from weclick.losses.paths import directions

NAMES = ["positive", "negative", "foreground", "background"]


def random_case(size=(7, 11), batch=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 3, 255], (batch, *size), p=[0.4, 0.3, 0.2, 0.1])
    return rng.normal(size=(batch, 1, *size)), rng.normal(size=(batch, 2, *size)), labels


@pytest.mark.parametrize(("size", "radius"), [((7, 11), 3), ((6, 12), 5), ((2, 3), 2)])
def test_equals_its_formula(size, radius):
    edge, displacement, labels = random_case(size)
    expected = dense.affinity_displacement(edge[:, 0], displacement, labels, radius)
    found = affinity_displacement(*map(torch.from_numpy, (edge, displacement, labels)), radius=radius)
    assert list(found) == NAMES
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-11)


def test_the_radius_is_that_of_irn():
    case = [torch.from_numpy(each) for each in random_case((12, 22), 1)]
    assert affinity_displacement(*case) == affinity_displacement(*case, radius=10)
    assert affinity_displacement(*case) != affinity_displacement(*case, radius=9)


@pytest.mark.parametrize("name", NAMES)
def test_gradient(name):
    edge, displacement, labels = map(torch.from_numpy, random_case((4, 6)))
    edge.requires_grad_(), displacement.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda e, d: affinity_displacement(e, d, labels, radius=2)[name], (edge, displacement)
    )


def test_a_field_that_points_to_the_centre_costs_nothing():
    """And sure edges cost nothing where two classes meet."""
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(13.0), indexing="ij")
    labels = torch.full((1, 9, 13), 7)
    found = affinity_displacement(torch.full((1, 1, 9, 13), -30.0), torch.stack([4 - y, 6 - x])[None], labels)
    assert found["foreground"] == 0  # a grid of 9x13 has no pairs within 10 cells
    found = affinity_displacement(
        torch.full((1, 1, 9, 13), -30.0), torch.stack([4 - y, 6 - x])[None], labels, radius=4
    )
    assert found["foreground"] == 0
    assert found["positive"] == pytest.approx(0, abs=1e-4)
    labels[..., 5:] = 2
    parted = affinity_displacement(
        torch.full((1, 1, 9, 13), 30.0), torch.zeros(1, 2, 9, 13), labels, radius=4
    )
    assert parted["negative"] == pytest.approx(0, abs=1e-4)
    assert parted["positive"] == pytest.approx(-np.log(1e-5) / 2, rel=1e-3)


@pytest.mark.parametrize("labels", [0, 1, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 20), (20, 1), (7, 11), (3, 5)])
def test_without_pairs_all_is_finite(labels, size):
    edge = torch.randn(1, 1, *size, requires_grad=True)
    displacement = torch.randn(1, 2, *size, requires_grad=True)
    losses = affinity_displacement(edge, displacement, torch.full((1, *size), labels), radius=4)
    total = sum(losses.values())
    total.backward()
    assert total.isfinite()
    assert edge.grad.isfinite().all()
    assert displacement.grad.isfinite().all()
    assert losses["negative"] == 0
    if labels == 255:
        assert total == 0
        assert not edge.grad.any()
        assert not displacement.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_sure_logits_are_finite_in_lower_precision(dtype):
    _, displacement, labels = random_case()
    for logit in (-200.0, 200.0):
        edge = torch.full((2, 1, 7, 11), logit, dtype=dtype, requires_grad=True)
        found = affinity_displacement(
            edge, torch.from_numpy(displacement).to(dtype), torch.from_numpy(labels), radius=3
        )
        sum(found.values()).backward()
        assert all(value.isfinite() and value.dtype == torch.float32 for value in found.values())
        assert edge.grad.isfinite().all()


def test_labels_may_be_bytes():
    edge, displacement, labels = map(torch.from_numpy, random_case())
    found = affinity_displacement(edge, displacement, labels.byte(), radius=3)
    assert found == affinity_displacement(edge, displacement, labels, radius=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edge": torch.zeros(1, 2, 4, 6)}, r"edge has shape \(1, 2, 4, 6\), expected \(1, 1, 4, 6\)"),
        ({"edge": torch.zeros(1, 4, 6)}, r"edge has shape \(1, 4, 6\), expected four axes"),
        ({"displacement": torch.zeros(1, 1, 4, 6)}, r"displacement has shape .* \(dy, dx\) of each cell"),
        ({"labels": torch.zeros(1, 8, 12)}, r"labels has shape \(1, 8, 12\), expected \(1, 4, 6\)"),
        ({"radius": 1}, "radius is 1, expected a whole number of cells from 2"),
    ],
)
def test_errors_teach(change, message):
    given = {
        "edge": torch.zeros(1, 1, 4, 6),
        "displacement": torch.zeros(1, 2, 4, 6),
        "labels": torch.zeros(1, 4, 6),
        "radius": 2,
    }
    with pytest.raises(ValueError, match=message):
        affinity_displacement(**{**given, **change})


def test_irn_has_152_directions():
    assert len(directions(10)) == 152
