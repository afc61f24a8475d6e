"""The losses of SEC and DSRG as terms: what the batch's class maps are to them."""

from dataclasses import replace

import pytest
import torch

from helpers.batches import H, K, W, logits, make_batch
from weclick.common.config import complete_config
from weclick.losses import balanced_seed_loss, constrain_loss, expand_loss, seed_loss
from weclick.train.objective import Objective
from weclick.train.terms import active, learns_from
from weclick.train.view import View

SEED = {"balanced": False, "grow": False, "grow_foreground": 0.85, "grow_background": 0.99}
CRF = {"preset": "sec", "iterations": 2}


@pytest.fixture
def batch():
    """Blocks of class 1 and 0 in the first image, of class 2 in the second; 4 px a cell."""
    labels = torch.full((2, 4 * H, 4 * W), 255, dtype=torch.uint8)
    labels[0, :8, :12], labels[0, 20:, 20:] = 1, 0
    labels[1, 8:16, 8:] = 2
    return replace(make_batch(), labels=labels)


def terms(batch, **sections):
    sections = {"supervision": "proxies", **sections}
    objective = Objective(sections, steps=10, class_weights=None)
    return objective(logits(batch), batch, 0)


def cues():
    expected = torch.zeros(2, K, H, W, dtype=torch.bool)
    expected[0, 1, :2, :3], expected[0, 0, 5:, 5:] = True, True
    expected[1, 2, 2:4, 2:] = True
    return expected


def test_cues_are_the_labels_of_the_cells_middles(batch):
    view = View(logits(batch), batch, None)
    assert torch.equal(view.cues, cues())
    assert view.present.tolist() == [[True, True, False], [True, False, True]]


@pytest.mark.parametrize(("balanced", "loss"), [(False, seed_loss), (True, balanced_seed_loss)])
def test_the_seed_term_is_the_loss_at_the_cues(batch, balanced, loss):
    found = terms(batch, seed_loss={"weight": 2.0, **SEED, "balanced": balanced, **CRF})
    targets = logits(batch)[: batch.targets]
    expected = loss(targets, cues(), torch.tensor([[True, True, False], [True, False, True]]))
    torch.testing.assert_close(found["seed"], 2 * expected)


def test_the_expand_term_takes_the_classes_of_the_cues_as_present(batch):
    found = terms(batch, expand_loss={"weight": 1.0, "foreground": 0.9, "background": 0.95})
    present = torch.tensor([[True, True, False], [True, False, True]])
    targets = logits(batch)[: batch.targets]
    expected = expand_loss(targets, present, foreground=0.9, background=0.95)
    torch.testing.assert_close(found["expand"], expected)


def test_the_constrain_term_draws_towards_the_crf_and_gives_it_no_gradient(batch):
    own = logits(batch).requires_grad_()
    section = {"weight": 1.0, **CRF}
    view = View(own, batch, None)
    refined = view.refined("sec", 2)
    assert not refined.requires_grad
    assert refined is view.refined("sec", 2)
    objective = Objective({"constrain_loss": section}, steps=10, class_weights=None)
    found = objective(own, batch, 0)["constrain"]
    torch.testing.assert_close(found, constrain_loss(own[: batch.targets], refined))
    found.backward()
    assert own.grad[: batch.targets].abs().sum() > 0


def test_grown_cues_hold_the_given_ones_and_spread_where_the_network_is_sure(batch):
    sure = torch.full((4, K, H, W), -20.0)
    sure[:, 1] = 20.0
    objective = Objective(
        {"supervision": "proxies", "seed_loss": {"weight": 1.0, **SEED, "grow": True, **CRF}},
        steps=10,
        class_weights=None,
    )
    plain = Objective(
        {"supervision": "proxies", "seed_loss": {"weight": 1.0, **SEED, **CRF}}, steps=10, class_weights=None
    )
    grown, given = (each(sure, batch, 0)["seed"] for each in (objective, plain))
    assert grown < given  # the first image's cue of class 1 takes in cells that are predicted right


def test_class_maps_count_by_their_supervision():
    config = complete_config({"method": "f2f"})
    assert learns_from("proxies", config)
    assert not learns_from("masks", config)
    assert not learns_from("clicks", config)
    names = {term.name for term, _ in active(config)}
    assert {"cross_entropy"} <= names
    assert "partial_cross_entropy" not in names
