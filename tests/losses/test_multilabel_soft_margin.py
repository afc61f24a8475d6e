"""The loss of a classifier: the formula in loops, what does not count, and its gradient."""

from math import exp, log

import pytest
import torch
from torch.nn.functional import multilabel_soft_margin_loss

from weclick.losses import multilabel_soft_margin

B, K, H, W = 3, 4, 2, 5


@pytest.fixture
def maps():
    return torch.randn(B, K, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tags():
    return torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0]]).bool()


@pytest.fixture
def inside():
    cells = torch.ones(B, 1, H, W, dtype=torch.bool)
    cells[0, :, :, 3:] = False
    cells[1, :, 1] = False
    return cells


@pytest.mark.parametrize("complete", [True, False])
def test_it_is_the_formula(maps, tags, inside, complete):
    paid = []
    for b in range(B):
        cells = [(y, x) for y in range(H) for x in range(W) if inside[b, 0, y, x]]
        for c in range(1, K):
            score = sum(float(maps[b, c, y, x]) for y, x in cells) / len(cells)
            if tags[b, c] or complete:
                paid.append(log(1 + exp(-score if tags[b, c] else score)))
    found = multilabel_soft_margin(maps, tags, inside, complete=complete)
    assert float(found) == pytest.approx(sum(paid) / len(paid), abs=1e-12)
    assert len(paid) == (9 if complete else 3)


def test_it_is_torchs_of_the_classes_after_background(maps, tags):
    everywhere = torch.ones(B, 1, H, W, dtype=torch.bool)
    expected = multilabel_soft_margin_loss(maps.mean((2, 3))[:, 1:], tags[:, 1:].double())
    torch.testing.assert_close(multilabel_soft_margin(maps, tags, everywhere), expected)


@pytest.mark.parametrize("complete", [True, False])
def test_background_padding_and_unknown_classes_have_no_gradient(maps, tags, inside, complete):
    multilabel_soft_margin(maps.requires_grad_(), tags, inside, complete=complete).backward()
    counted = inside & (tags | complete)[:, :, None, None]
    counted[:, 0] = False
    assert torch.equal(maps.grad != 0, counted)
    assert torch.autograd.gradcheck(
        lambda values: multilabel_soft_margin(values, tags, inside, complete=complete), maps
    )


def test_a_data_set_without_background_learns_class_0_too(maps, tags, inside):
    shifted = torch.cat([torch.zeros_like(maps[:, :1]), maps], 1), torch.cat([tags[:, :1], tags], 1)
    found = multilabel_soft_margin(maps, tags, inside, background=False)
    torch.testing.assert_close(found, multilabel_soft_margin(*shifted, inside))


def test_without_anything_that_counts_it_is_zero(maps, inside):
    none = torch.zeros(B, K, dtype=torch.bool)
    loss = multilabel_soft_margin(maps.requires_grad_(), none, inside, complete=False)
    loss.backward()
    assert loss == 0
    assert not maps.grad.any()
    padding = multilabel_soft_margin(maps.detach(), none, torch.zeros_like(inside))
    assert float(padding) == pytest.approx(log(2))


def test_half_precision_is_counted_in_single(maps, tags, inside):
    found = multilabel_soft_margin(maps.bfloat16(), tags, inside)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, multilabel_soft_margin(maps.bfloat16().float(), tags, inside))


def test_errors_teach(maps, tags, inside):
    with pytest.raises(ValueError, match=r"tags has shape \(3, 3\), expected \(3, 4\): \(B, K\)"):
        multilabel_soft_margin(maps, tags[:, 1:], inside)
    with pytest.raises(ValueError, match=r"inside has shape \(3, 2, 5\), expected \(3, 1, 2, 5\)"):
        multilabel_soft_margin(maps, tags, inside[:, 0])
