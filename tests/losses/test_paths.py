"""Pairs and paths, against those that IRN counts."""

import numpy as np
import pytest
import torch

from helpers import dense_relations as dense
from weclick.losses.paths import affinities, directions, sources, targets


@pytest.mark.parametrize(("radius", "count"), [(2, 4), (5, 34), (10, 152)])
def test_every_pair_is_met_once(radius, count):
    steps = [each.step for each in directions(radius)]
    assert len(steps) == count
    assert steps == sorted(steps)
    assert {*steps, *((-dy, -dx) for dy, dx in steps)} == set(dense.near(radius))


@pytest.mark.parametrize("radius", [3, 10])
def test_paths_are_the_cells_near_the_line(radius):
    for step, path in directions(radius):
        assert set(path) == set(dense.path(*step))
        assert {(0, 0), step} <= set(path)


def test_the_path_of_a_diagonal_is_one_cell_wide_on_both_sides():
    assert dict(directions(4))[2, 2] == ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2))
    assert dict(directions(4))[0, 3] == ((0, 0), (0, 1), (0, 2), (0, 3))


def test_affinities_are_one_minus_the_strongest_edge():
    edge = np.random.default_rng(0).random((2, 6, 9))
    found = affinities(torch.from_numpy(edge), 3)
    steps = [each.step for each in directions(3)]
    assert found.shape == (2, len(steps), 4, 5)
    for b in range(2):
        for y, x, dy, dx in dense.pairs((6, 9), 3):
            expected = dense.affinity(edge[b], y, x, dy, dx)
            assert found[b, steps.index((dy, dx)), y, x - 2] == pytest.approx(expected, abs=1e-15)


def test_sources_and_targets_are_cells_of_the_grid():
    numbers = torch.arange(6 * 9).view(6, 9)
    assert sources(numbers, 3).tolist() == [[9 * y + x for x in range(2, 7)] for y in range(4)]
    for (dy, dx), there in zip((each.step for each in directions(3)), targets(numbers, 3), strict=True):
        assert torch.equal(there, sources(numbers, 3) + 9 * dy + dx)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 4)])
def test_a_small_grid_has_no_pairs(size):
    found = affinities(torch.zeros(2, *size), 3)
    assert found.numel() == 0
    assert found.shape[:2] == (2, len(directions(3)))


def test_the_gradient_goes_to_the_strongest_edge():
    edge = torch.tensor([[[0.1, 0.2, 0.7], [0.1, 0.1, 0.1]]], requires_grad=True)
    affinities(edge, 2)[0, [each.step for each in directions(2)].index((0, 1))].sum().backward()
    assert edge.grad.tolist() == [[[0, 0, -1], [0, 0, 0]]]


@pytest.mark.parametrize("radius", [1, 2.5, True])
def test_a_radius_without_pairs_is_told(radius):
    with pytest.raises(ValueError, match=rf"radius is {radius}, expected a whole number of cells from 2"):
        directions(radius)
