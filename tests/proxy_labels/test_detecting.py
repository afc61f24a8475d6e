"""Instances against the public code's way with dense matrices and all maps at once."""

import numpy as np
import pytest
import torch

from helpers import dense_relations as dense
from weclick.common.errors import InputError
from weclick.proxy_labels import detecting, detections

SIZE = 30, 45
GRID = 8, 12


def random_case(seed=0, classes=2):
    """Smooth maps of classes, two clusters and one left over, and edges between."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: GRID[0], : GRID[1]]
    bumps = [np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 8) for cy, cx in rng.uniform(0, 8, (2 * classes, 2))]
    clusters = np.where(x < 4, 0, np.where(x < 8, 1, 2))
    edge = np.where(np.isin(x, [4, 8]), 0.6, 0.02) + 0.02 * rng.random(GRID)
    return np.array(bumps).reshape(classes, 2, *GRID).sum(1), clusters, edge


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options", [{}, {"normalise": "instance"}, {"background": 0.5}, {"min_share": 0.2}], ids=str
)
def test_equals_the_dense_way(seed, options):
    case = random_case(seed)
    masks, classes, scores = detections(*case, SIZE, **options)
    expected_masks, expected_classes, expected_scores = dense.detections(*case, SIZE, **options)
    assert classes.tolist() == expected_classes.tolist()
    assert np.array_equal(masks, expected_masks)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
    assert len(masks) > 1


def test_what_is_given_back():
    cams, clusters, edge = random_case()
    masks, classes, scores = detections(cams, clusters, edge, SIZE)
    assert (masks.dtype, classes.dtype, scores.dtype) == (bool, np.int64, np.float64)
    assert masks.shape == (len(classes), *SIZE)
    assert masks.sum(0).max() == 1
    assert scores.max() == 1
    given = (torch.from_numpy(each) for each in (cams, clusters, edge))
    found = detections(*given, SIZE)
    assert np.array_equal(found[0].numpy(), masks)
    assert [each.dtype for each in found] == [torch.bool, torch.int64, torch.float64]


def test_a_weak_instance_beside_a_strong_one_stays_if_each_has_its_own_maximum():
    cams, clusters = np.zeros((1, *GRID)), np.zeros(GRID, int)
    clusters[:, 6:] = 1
    cams[0, 2:5, 1:4], cams[0, 2:5, 8:11] = 1, 0.05
    edge = np.zeros(GRID)
    edge[:, 6] = 1
    count = {
        how: len(detections(cams, clusters, edge, SIZE, normalise=how)[0]) for how in ("image", "instance")
    }
    assert count == {"image": 1, "instance": 2}


def test_a_small_region_has_score_0():
    cams, clusters = np.zeros((1, *GRID)), np.zeros(GRID, int)
    cams[0, 0, 0], cams[0, 4, 8] = 1, 0.9
    edge = np.ones(GRID)
    edge[0, 0] = edge[4, 8] = 0
    masks, _, scores = detections(cams, clusters, edge, SIZE, min_share=0.015)
    assert len(masks) == 2
    assert (scores > 0).tolist() == (masks.sum((1, 2)) >= 0.015 * 30 * 45).tolist()
    assert detections(cams, clusters, edge, SIZE, min_share=0.02)[2][0] == 0


@pytest.mark.parametrize("classes", [0, 2])
def test_empty_maps_have_no_instance(classes):
    masks, ids, scores = detections(np.zeros((classes, *GRID)), np.zeros(GRID, int), np.zeros(GRID), SIZE)
    assert masks.shape == (0, *SIZE)
    assert ids.shape == scores.shape == (0,)


def test_maps_that_are_empty_in_a_cluster_take_no_memory(monkeypatch):
    cams, clusters, edge = random_case()
    cams[0, :, 4:] = 0  # in one cluster alone
    expected = detections(cams, clusters, edge, SIZE)
    monkeypatch.setattr(detecting, "MAP_BYTES", 4 * 8 * clusters.size)
    for found, other in zip(detections(cams, clusters, edge, SIZE), expected, strict=True):
        np.testing.assert_array_equal(found, other)


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        (
            "MAP_BYTES",
            r"6 maps of a class in a cluster take 4.5 KiB, at most 100 B are kept; .* train it longer",
        ),
        ("MASK_BYTES", r"\d+ regions take .*, at most 100 B are kept; .* make frames smaller"),
    ],
)
def test_more_than_fits_into_memory_is_told(monkeypatch, bound, told):
    monkeypatch.setattr(detecting, bound, 100)
    with pytest.raises(InputError, match=told):
        detections(*random_case(), SIZE)


def test_maps_of_whole_numbers_are_maps():
    """torch takes bytes as positions where it takes truth values as a choice."""
    cams, clusters, edge = random_case()
    whole = (255 * cams / cams.max()).astype(np.uint8)
    found, expected = (detections(maps, clusters, edge, SIZE) for maps in (whole, whole.astype(float)))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (4, 5)])
def test_any_size(size):
    grid = tuple(-(-side // 4) for side in size)
    masks, classes, scores = detections(np.ones((1, *grid)), np.zeros(grid, int), np.zeros(grid), size)
    assert masks.all()
    assert (len(masks), classes.tolist()) == (1, [0])
    assert scores.tolist() == pytest.approx([1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (33, 45)}, r"maps are \(2, 8, 12\).*with 9 x 12 cells of 4 px for a frame of 33 x 45 px"),
        ({"clusters": np.zeros((8, 11), int)}, r"clusters \(8, 11\), expected \(K, h, w\) and \(h, w\)"),
        ({"edge": np.full(GRID, 2.0)}, "expected probabilities"),
        ({"background": 1}, "background is 1 and min_share 0.01, expected shares"),
        ({"min_share": -1}, "min_share -1"),
        ({"normalise": "class"}, "normalise is 'class', expected image or instance"),
    ],
)
def test_errors_teach(change, message):
    cams, clusters, edge = random_case()
    given = {"cams": cams, "clusters": clusters, "edge": edge, "size": SIZE}
    with pytest.raises(InputError, match=message):
        detections(**{**given, **change})
