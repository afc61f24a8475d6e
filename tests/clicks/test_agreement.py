"""Two people agree if they click on the same objects and give them the same class."""

import numpy as np
import pytest

from helpers.persons_click import click
from weclick.clicks.agreement import LEAST_MATCHES, agreements, kappa


def halves(_click):
    """A class on the left and another one on the right, at half the frame's size."""
    return np.repeat([[0] * 15 + [1] * 15], 20, 0).astype(np.uint8)


def test_clicks_match_in_one_segment_and_not_by_distance():
    far = [click("anna", 0, 2, 2, 0), click("ben", 0, 38, 27, 0)]
    near = [click("anna", 1, 5, 29, 0), click("ben", 1, 5, 31, 0)]
    (found,) = agreements([*far, *near], halves)
    assert (found.people, found.frames, found.clicks, found.matches) == (("anna", "ben"), 2, 4, 1)
    assert found.matched == 0.5
    assert found.kappa is None


def test_each_click_has_one_partner():
    (found,) = agreements([*(click("anna", 0, y, 2, 0) for y in range(5)), click("ben", 0, 9, 9, 0)], halves)
    assert found.matches == 1


def test_kappa_is_told_from_fifty_matches_on():
    pairs = [(i % 2, (i % 2) if i % 10 else 1 - i % 2) for i in range(LEAST_MATCHES)]
    clicks = [
        c for i, (a, b) in enumerate(pairs) for c in (click("anna", i, 2, 2, a), click("ben", i, 3, 3, b))
    ]
    (found,) = agreements(clicks, halves)
    assert (found.matches, found.matched) == (50, 1)
    assert found.kappa == pytest.approx(0.8, abs=0.01)
    (fewer,) = agreements(clicks[:-2], halves)
    assert fewer.kappa is None


def test_alone_nobody_agrees():
    assert agreements([click("anna", 0, 1, 1, 0), click("ben", 1, 1, 1, 0)], halves) == []


def test_kappa_by_hand():
    assert kappa([(0, 0)] * 20 + [(1, 1)] * 15 + [(0, 1)] * 5 + [(1, 0)] * 10) == pytest.approx(0.4)
    assert kappa([(0, 1), (1, 0)]) == -1
    assert kappa([(0, 0)] * 3) is None
