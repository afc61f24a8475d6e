"""The flow boundary loss against its formula in loops."""

import numpy as np
import pytest
import torch

from helpers import dense_relations as dense
from weclick.losses import flow_boundary


def random_case(size=(7, 10), batch=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, 1, *size)), 3 * rng.normal(size=(batch, 2, *size))


@pytest.mark.parametrize("size", [(7, 10), (4, 5)])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"components": 4}, {"components": 4}),
        ({"unit": "image_px"}, {"factor": 4}),
        ({"unit": "image_px", "stride": 8}, {"factor": 8}),
        ({"stride": 8}, {}),
        ({"signal": "flow"}, {"signal": "flow"}),
        ({"signal": "flow", "unit": "image_px"}, {"signal": "flow", "factor": 4}),
        ({"weight_lambda": 0.5}, {"lam": 0.5}),
    ],
)
def test_equals_its_formula(size, options, expected):
    edge, flow = random_case(size)
    found = flow_boundary(torch.from_numpy(edge), torch.from_numpy(flow), radius=3, **options)
    assert found.item() == pytest.approx(dense.flow_boundary(edge[:, 0], flow, 3, **expected), rel=1e-11)


def test_pairs_with_a_cell_that_is_not_believed_do_not_count():
    edge, flow = random_case()
    valid = np.random.default_rng(1).random((2, 1, 7, 10)) < 0.7
    expected = dense.flow_boundary(edge[:, 0], flow, 3, valid=valid[:, 0])
    given = torch.from_numpy(edge), torch.from_numpy(flow)
    found = flow_boundary(*given, radius=3, valid=torch.from_numpy(valid))
    assert found.item() == pytest.approx(expected, rel=1e-11)
    assert found != flow_boundary(*given, radius=3)


def test_a_flow_that_is_not_finite_leaves_its_pairs_out():
    edge, flow = random_case(batch=1)
    there = np.ones((1, 7, 10), bool)
    there[0, 3, 4] = False
    expected = dense.flow_boundary(edge[:, 0], flow, 3, signal="flow", valid=there)
    flow[0, :, 3, 4] = np.nan
    logits = torch.from_numpy(edge).requires_grad_()
    found = flow_boundary(logits, torch.from_numpy(flow), radius=3, signal="flow")
    found.backward()
    assert found.item() == pytest.approx(expected, rel=1e-11)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"components": 4, "unit": "image_px"}, {"signal": "flow"}])
def test_gradient(options):
    edge, flow = map(torch.from_numpy, random_case((4, 6)))
    edge.requires_grad_(), flow.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: flow_boundary(e, flow, radius=2, **options), (edge,))
    flow_boundary(edge, flow, radius=2).backward()
    assert flow.grad is None


def test_a_border_of_motion_asks_for_an_edge_only_if_it_exceeds_lambda():
    flow = torch.zeros(1, 2, 6, 12)
    flow[:, 0, :, 6:] = 3  # derivatives of 1.5 beside the border
    for weight_lambda, rises in ((2.0, False), (0.5, True)):
        edge = torch.zeros(1, 1, 6, 12, requires_grad=True)
        flow_boundary(edge, flow, radius=3, weight_lambda=weight_lambda).backward()
        assert (edge.grad.min() < 0) == rises
        assert edge.grad.max() > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 20), (20, 1), (3, 5)])
def test_without_pairs_it_is_zero(size):
    edge = torch.randn(1, 1, *size, requires_grad=True)
    loss = flow_boundary(edge, torch.randn(1, 2, *size), radius=4)
    loss.backward()
    assert loss == 0
    assert not edge.grad.any()
    edge, flow = map(torch.from_numpy, random_case())
    assert flow_boundary(edge, flow, radius=3, valid=torch.zeros(2, 1, 7, 10).bool()) == 0


def test_half_precision_counts_in_single():
    edge, flow = map(torch.from_numpy, random_case())
    half = edge.bfloat16()
    found = flow_boundary(half, flow.bfloat16(), radius=3)
    assert found.dtype == torch.float32
    assert found == pytest.approx(flow_boundary(half.double(), flow.bfloat16(), radius=3).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": torch.zeros(1, 2, 4, 5)}, r"flow has shape \(1, 2, 4, 5\), expected \(1, 2, 4, 6\)"),
        ({"edge": torch.zeros(1, 2, 4, 6)}, r"edge has shape .*: one logit a cell"),
        ({"valid": torch.ones(1, 4, 6).bool()}, r"valid has shape \(1, 4, 6\), expected \(1, 1, 4, 6\)"),
        ({"components": 3}, "components is 3, expected 2 or 4"),
        ({"unit": "px"}, "unit is 'px', expected one of 'cell', 'image_px'"),
        ({"signal": "speed"}, "signal is 'speed', expected one of 'gradient', 'flow'"),
    ],
)
def test_errors_teach(change, message):
    given = {"edge": torch.zeros(1, 1, 4, 6), "flow": torch.zeros(1, 2, 4, 6), "radius": 2}
    with pytest.raises(ValueError, match=message):
        flow_boundary(**{**given, **change})
