"""Growing cues against DSRG's rule in loops, and its corners by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import reference_seeds as reference
from weclick.losses import grow_cues

ALL = torch.tensor([True, True, True])


def sure_of(rows, classes=3):
    """Probabilities that are sure (1) of the class that each character names; "." is unsure."""
    probs = torch.full((classes, len(rows), len(rows[0])), 1 / classes)
    for y, row in enumerate(rows):
        for x, name in enumerate(row):
            if name != ".":
                probs[:, y, x] = 0
                probs[int(name), y, x] = 1
    return probs


def cues_at(rows, classes=3):
    return torch.stack(
        [torch.tensor([[name == str(c) for name in row] for row in rows]) for c in range(classes)]
    )


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    cued=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_rule_in_loops(size, cued, seed):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([0.05] * 4, size).transpose(2, 0, 1)
    of = rng.integers(0, 4, size)
    cues = (np.arange(4)[:, None, None] == of) & (rng.random(size) < cued)
    present = rng.random(4) < 0.7
    found = grow_cues(torch.from_numpy(probs), torch.from_numpy(cues), torch.from_numpy(present))
    assert np.array_equal(found.numpy(), reference.grow_cues(probs, cues, present))


def test_grows_over_corners_and_leaves_regions_without_a_cue():
    probs = sure_of(["1..1", ".1..", "1..1"])
    grown = grow_cues(probs, cues_at(["....", ".1..", "...."]), ALL)
    assert torch.equal(grown, cues_at(["1...", ".1..", "1..."]))


def test_grows_along_a_path_as_long_as_the_image():
    rows = ["11111", "....1", "11111", "1....", "11111"]
    cues = cues_at(["1....", ".....", ".....", ".....", "....."])
    assert torch.equal(grow_cues(sure_of(rows), cues, ALL), cues_at(rows))


def test_a_cue_keeps_its_class_and_starts_nothing_where_the_network_is_sure_of_another():
    grown = grow_cues(sure_of(["1112"]), cues_at(["12.."]), ALL)
    assert torch.equal(grown, cues_at(["121."]))  # the region of class 1 passes below the cue of class 2


def test_classes_that_are_absent_do_not_grow():
    present = torch.tensor([True, True, False])
    grown = grow_cues(sure_of(["122"]), cues_at([".2."]), present)
    assert torch.equal(grown, cues_at([".2."]))


def test_background_has_its_own_threshold_and_is_always_there():
    probs = torch.tensor([[[0.9, 1.0, 0.1, 0.1]], [[0.1, 0.0, 0.9, 0.9]]])
    cues = cues_at([".0.1"], 2)
    none = torch.tensor([False, False])
    assert torch.equal(grow_cues(probs, cues, ~none), cues_at([".011"], 2))
    assert torch.equal(grow_cues(probs, cues, ~none, background=0.8), cues_at(["0011"], 2))
    assert torch.equal(grow_cues(probs, cues, none, background=0.8), cues_at(["00.1"], 2))


def test_no_cue_gives_no_cue():
    assert not grow_cues(sure_of(["012"]), cues_at(["..."]), ALL).any()


def test_growing_again_from_the_same_cues_gives_the_same():
    probs, cues = sure_of(["11.", ".1."]), cues_at(["1..", "..."])
    before = cues.clone()
    assert torch.equal(grow_cues(probs, cues, ALL), grow_cues(probs, cues, ALL))
    assert torch.equal(cues, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probs": torch.zeros(1, 3, 2, 2)}, r"probs has shape \(1, 3, 2, 2\), expected three axes"),
        ({"cues": torch.zeros(3, 2, 1).bool()}, r"cues has shape \(3, 2, 1\), expected \(3, 2, 2\)"),
        ({"present": torch.ones(2).bool()}, r"present has shape \(2,\), expected \(3,\): one flag a class"),
    ],
)
def test_errors_teach(change, message):
    arguments = {"probs": torch.zeros(3, 2, 2), "cues": torch.zeros(3, 2, 2).bool(), "present": ALL}
    with pytest.raises(ValueError, match=message):
        grow_cues(**{**arguments, **change})
