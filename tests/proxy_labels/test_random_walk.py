"""The sparse walk against the dense one."""

import numpy as np
import pytest
import torch

from helpers import dense_relations as dense
from weclick.common.errors import InputError
from weclick.proxy_labels import walk


def random_case(size, maps=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((maps, *size)), rng.random(size) ** 3


@pytest.mark.parametrize("size", [(7, 9), (11, 6), (1, 13), (13, 1), (1, 1), (2, 2), (4, 10)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_equals_the_dense_walk(size, dtype):
    maps, edge = random_case(size)
    found = walk(maps.astype(dtype), edge.astype(dtype))
    assert found.dtype == dtype
    expected = dense.walk(maps, edge)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 if dtype == np.float64 else 1e-5)
    assert expected.std() > 1e-3 or min(size) == 1 or size == (2, 2)


@pytest.mark.parametrize(
    "options", [{"radius": 2}, {"radius": 7}, {"beta": 1}, {"beta": 2.5}, {"exp_times": 0}, {"exp_times": 3}]
)
def test_options_are_those_of_the_dense_walk(options):
    maps, edge = random_case((6, 8))
    np.testing.assert_allclose(walk(maps, edge, **options), dense.walk(maps, edge, **options), atol=1e-10)


@pytest.mark.parametrize("sure", [0.97, 0.999, 1.0])
def test_a_sure_edge_keeps_a_map_on_its_side(sure):
    maps, edge = np.zeros((1, 8, 11)), np.zeros((8, 11))
    maps[0, :, :4], edge[:, 5] = 1, sure
    found = walk(maps, edge)
    np.testing.assert_allclose(found, dense.walk(maps, edge), atol=1e-9)
    assert found[0, :, :5].min() > 0.3
    assert found[0, :, 5:].max() < 1e-6


def test_where_all_is_edge_nothing_is_left():
    maps, _ = random_case((5, 6))
    assert not walk(maps, np.ones((5, 6))).any()


def test_without_an_edge_a_map_spreads_evenly():
    maps, _ = random_case((5, 6), 1)
    edge = np.zeros((5, 6))
    found = walk(maps, edge)
    np.testing.assert_allclose(found, dense.walk(maps, edge), atol=1e-12)
    assert found.std() < 1e-6


def test_maps_walk_by_themselves():
    maps, edge = random_case((6, 7), 3)
    together = walk(maps, edge)
    np.testing.assert_allclose(
        np.concatenate([walk(each[None], edge) for each in maps]), together, atol=1e-14
    )
    assert walk(maps[:0], edge).shape == (0, 6, 7)


def test_tensors_give_tensors_without_gradient():
    maps, edge = (torch.from_numpy(each).requires_grad_() for each in random_case((4, 5)))
    found = walk(maps, edge)
    assert isinstance(found, torch.Tensor)
    assert not found.requires_grad
    assert walk(maps.bool(), edge).dtype == walk(maps.half(), edge).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": np.zeros((4, 5))}, r"maps are \(4, 5\) and the edge \(4, 5\), expected \(N, h, w\)"),
        ({"edge": np.zeros((5, 4))}, r"the edge \(5, 4\), expected .* bring both to one grid"),
        (
            {"edge": np.full((4, 5), -3.0)},
            r"edges are -3\.\.-3, expected probabilities 0\.\.1; take the sigmoid",
        ),
        ({"edge": np.full((4, 5), np.nan)}, r"edges are nan\.\.nan, expected probabilities"),
        ({"maps": np.full((1, 4, 5), np.inf)}, "maps are not all finite"),
        ({"radius": 1}, r"radius is 1, beta 10 and exp_times 8, expected a whole number from 2"),
        ({"beta": 0}, "beta 0"),
        ({"exp_times": -1}, "exp_times -1"),
    ],
)
def test_errors_teach(change, message):
    with pytest.raises(InputError, match=message):
        walk(**{"maps": np.zeros((1, 4, 5)), "edge": np.zeros((4, 5)), **change})
