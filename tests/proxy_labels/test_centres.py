"""Where displacements lead, against a loop over cells, and which cells share a centre."""

import numpy as np
import pytest
import torch

from helpers import dense_relations as dense
from weclick.common.errors import InputError
from weclick.proxy_labels import centroids, group


def towards(centres, owner):
    """Displacements (2, h, w) from each cell to the centre of its owner."""
    y, x = np.mgrid[: owner.shape[0], : owner.shape[1]]
    return np.stack([np.array(centres)[owner, axis] - at for axis, at in enumerate((y, x))]).astype(float)


@pytest.fixture
def two_objects():
    owner = np.zeros((12, 30), int)
    owner[:, 15:] = 1
    return owner, towards([(5, 6), (6, 22)], owner)


@pytest.mark.parametrize("size", [(7, 9), (1, 8), (8, 1), (1, 1)])
@pytest.mark.parametrize("iterations", [0, 1, 25])
def test_equals_a_loop_over_cells(size, iterations):
    field = 2 * np.random.default_rng(0).normal(size=(2, *size))
    assert np.array_equal(centroids(field, iterations=iterations), dense.centroids(field, iterations))


def test_cells_never_leave_the_grid():
    ends = centroids(np.full((2, 4, 5), 100.0))
    assert (ends[0] == 3).all()
    assert (ends[1] == 4).all()


def test_from_the_middle_of_two_it_goes_to_the_even_one():
    field = np.zeros((2, 1, 4))
    field[1] = 0.5
    assert centroids(field, iterations=1)[1].tolist() == [[0, 2, 2, 3]]


def test_cells_follow_their_object(two_objects):
    owner, field = two_objects
    y, x = centroids(field)
    assert (y[:, :13] == 5).all()
    assert (x[:, :13] == 6).all()
    assert np.array_equal(group(field)[:, [3, 26]], owner[:, [3, 26]] + 1)
    assert set(group(field).ravel()) <= {0, 1, 2}


def test_cells_that_end_outside_every_region_have_number_0():
    field = np.full((2, 6, 8), 30.0)
    field[:, :2, :2] = 0
    numbers = group(field)
    assert (numbers[:2, :2] == 1).all()
    assert (numbers[3:, 3:] == 0).all()
    assert (group(np.full((2, 6, 8), 30.0)) == 0).all()


def test_regions_touch_at_sides_and_numbers_are_compressed():
    weak = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool)
    field = np.where(weak, 0.0, 9.0)[None].repeat(2, 0)
    assert group(field, iterations=0).tolist() == [[1, 0, 2], [0, 3, 0], [4, 0, 5]]
    field[:, 0, 2] = (
        0,
        -1.5,
    )  # weak still, but its cell moves on to the first region
    assert group(field, iterations=1).tolist() == [[1, 4, 1], [4, 2, 4], [3, 4, 4]]


def test_a_longer_displacement_is_weak_only_if_it_may_be():
    field = np.full((2, 3, 3), 2.0)  # length 2.83
    assert (group(field) == 0).all()
    assert (group(field, weak_px=3) == 1).all()


def test_tensors_give_tensors():
    field = torch.zeros(2, 3, 4, dtype=torch.float16, requires_grad=True)
    assert centroids(field).dtype == group(field).dtype == torch.int64
    assert group(field).shape == (3, 4)


@pytest.mark.parametrize("call", [centroids, group])
@pytest.mark.parametrize(
    ("field", "options", "message"),
    [
        (np.zeros((3, 4, 5)), {}, r"shape \(3, 4, 5\), expected \(2, h, w\)"),
        (np.zeros((2, 0, 5)), {}, r"shape \(2, 0, 5\)"),
        (np.full((2, 4, 5), np.nan), {}, "not all finite"),
        (np.zeros((2, 4, 5)), {"iterations": -1}, "iterations is -1, expected a whole number from 0"),
    ],
)
def test_errors_teach(call, field, options, message):
    with pytest.raises(InputError, match=message):
        call(field, **options)


@pytest.mark.parametrize("weak_px", [0, -1, float("nan")])
def test_no_displacement_is_shorter_than_nothing(weak_px):
    with pytest.raises(InputError, match=rf"weak_px is {weak_px}, expected a number of cells above 0"):
        group(np.zeros((2, 4, 5)), weak_px=weak_px)
