"""One class for each pixel: regions over background, and who wins where two regions meet."""

import numpy as np
import pytest

from weclick.proxy_labels.class_maps import class_map

REGIONS = np.array([[[1, 1, 1, 0, 0]], [[0, 0, 1, 1, 0]]], bool)
VALUES = np.array([[[0.9, 0.9, 0.9, 0.1, 0.0]], [[0.8, 0.1, 0.6, 0.7, 0.0]]])
NOTHING = np.zeros((1, 5), bool)


@pytest.mark.parametrize(
    ("conflict", "expected"),
    [
        ("smaller_region", [4, 4, 7, 7, 255]),
        ("ignore", [4, 4, 255, 7, 255]),
        ("highest", [4, 4, 4, 7, 255]),
    ],
)
def test_conflicts(conflict, expected):
    assert class_map(REGIONS, VALUES, (4, 7), NOTHING, conflict=conflict)[0].tolist() == expected


@pytest.mark.parametrize("conflict", ["smaller_region", "highest"])
def test_of_equals_the_first_class_wins(conflict):
    both = np.ones((2, 1, 5), bool)
    found = class_map(both, np.ones((2, 1, 5)), (4, 7), NOTHING, conflict=conflict)
    assert (found == 4).all()


def test_a_value_outside_its_region_does_not_count():
    values = np.array([[[0.5] * 5], [[0.9] * 5]])
    found = class_map(REGIONS, values, (4, 7), NOTHING, conflict="highest")
    assert found[0].tolist() == [4, 4, 7, 7, 255]


def test_regions_win_over_background_and_the_rest_is_ignored():
    background = np.array([[True, False, False, True, True]])
    found = class_map(REGIONS[:1], VALUES[:1], (4,), background, conflict="smaller_region")
    assert found[0].tolist() == [4, 4, 4, 0, 0]
    assert found.dtype == np.uint8


@pytest.mark.parametrize("conflict", ["smaller_region", "ignore", "highest"])
def test_no_region_leaves_what_is_known_of_the_background(conflict):
    empty = np.zeros((2, 1, 5), bool)
    background = np.array([[True, False, False, True, True]])
    found = class_map(empty, VALUES, (4, 7), background, conflict=conflict)
    assert found[0].tolist() == [0, 255, 255, 0, 0]
