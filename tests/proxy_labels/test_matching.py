"""Assignments against all permutations, and masks inside others by hand."""

from itertools import permutations

import numpy as np
import pytest
import torch

from weclick.common.errors import InputError
from weclick.proxy_labels import iom_nms, match
from weclick.proxy_labels.overlaps import BLOCK_PX, box_iou, boxes, common_pixels, mask_iom, mask_iou


def row(*spans, width=12):
    """(N, 1, width) bool: a mask of the columns start..end-1 for each span."""
    masks = np.zeros((len(spans), 1, width), bool)
    for mask, (start, end) in zip(masks, spans, strict=True):
        mask[0, start:end] = True
    return masks


def test_the_sum_counts_not_the_best_pair():
    weights = np.array([[0.9, 0.8, 0.0], [0.8, 0.1, 0.0], [0.0, 0.7, 0.65]])
    pairs = match(weights)
    assert pairs.tolist() == [[0, 1], [1, 0], [2, 2]]
    assert weights[tuple(pairs.T)].sum() == pytest.approx(2.25)  # the greedy choice 0-0, 2-1 has 1.6


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 6)])
def test_no_assignment_is_better(shape):
    weights = np.random.default_rng(7).uniform(-0.5, 1, shape)
    short = weights if shape[0] <= shape[1] else weights.T
    chosen = permutations(range(short.shape[1]), short.shape[0])
    best = max(sum(max(short[i, j], 0) for i, j in enumerate(columns)) for columns in chosen)
    assert weights[tuple(match(weights).T)].sum() == pytest.approx(best)


def test_a_weight_of_zero_or_less_is_no_pair():
    assert match(np.zeros((2, 3))).shape == (0, 2)
    assert match(np.array([[5.0, -9.0], [4.0, -9.0]])).tolist() == [[0, 0]]
    for shape in ((0, 0), (0, 4), (4, 0)):
        assert match(np.zeros(shape)).shape == (0, 2)


def test_torch_gives_torch():
    pairs = match(torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True))
    assert isinstance(pairs, torch.Tensor)
    assert pairs.dtype == torch.int64
    kept = iom_nms(torch.from_numpy(row((0, 2))), torch.zeros(1, dtype=torch.int64))
    assert isinstance(kept, torch.Tensor)
    assert isinstance(iom_nms(row((0, 2)), None), np.ndarray)


@pytest.mark.parametrize(
    "weights", [np.zeros(3), np.array([[np.nan]]), np.array([[np.inf]]), np.array([["a"]])]
)
def test_weights_that_are_none_are_told(weights):
    with pytest.raises(InputError, match=r"weights are .* expected a matrix \(N, M\) of finite numbers"):
        match(weights)


def test_a_mask_inside_a_larger_one_goes():
    masks = row((2, 4), (0, 8), (6, 9), (6, 10))
    assert iom_nms(masks, [1, 1, 1, 1]).tolist() == [1, 3]  # of 6..9, two thirds lie in 0..7; of 6..10 half
    assert iom_nms(masks, [1, 2, 1, 1]).tolist() == [0, 1, 3]
    assert iom_nms(masks, [1, 2, 1, 1], threshold=0.2).tolist() == [0, 1, 3]
    assert iom_nms(masks, None).tolist() == [1, 3]
    assert iom_nms(masks, None, threshold=1).tolist() == [0, 1, 2, 3]


def test_exactly_half_inside_is_not_inside():
    assert iom_nms(row((0, 6), (4, 8)), [1, 1]).tolist() == [0, 1]
    assert iom_nms(row((0, 6), (4, 7)), [1, 1]).tolist() == [0]


def test_the_earlier_of_two_equal_masks_stays():
    assert iom_nms(row((3, 6), (0, 3), (0, 3), (3, 6)), [1, 1, 1, 1]).tolist() == [0, 1]


def test_a_dropped_mask_drops_nothing():
    """The middle one lies in the first, and the last only in the middle one."""
    assert iom_nms(row((0, 6), (3, 8), (6, 9)), [1, 1, 1]).tolist() == [0, 2]


def test_empty_masks_and_no_masks():
    assert iom_nms(row((0, 0), (0, 3), (0, 0)), [1, 1, 1]).tolist() == [0, 1, 2]
    assert iom_nms(row(), []).tolist() == []
    assert iom_nms(row(), None).dtype == np.int64


@pytest.mark.parametrize(
    ("masks", "classes", "told"),
    [
        (np.zeros((2, 4, 4)), [1, 1], r"float64 of shape \(2, 4, 4\), expected bool .* cut soft masks first"),
        (np.zeros((4, 4), bool), [1], r"bool of shape \(4, 4\)"),
        (np.zeros((1, 0, 4), bool), [1], r"shape \(1, 0, 4\)"),
        (np.zeros((2, 4, 4), bool), [1], r"classes .* shape \(1,\), expected integers of shape \(2,\)"),
        (np.zeros((2, 4, 4), bool), [1.0, 2.0], r"classes of iom_nms are float64"),
        ("masks", None, r"a str cannot be read as an array|masks of iom_nms are"),
    ],
)
def test_what_are_no_masks_is_told(masks, classes, told):
    with pytest.raises(InputError, match=told):
        iom_nms(masks, classes)


def test_a_threshold_beyond_a_share_is_told():
    with pytest.raises(InputError, match="threshold of IoM is 50, expected 0 to 1"):
        iom_nms(row((0, 2)), None, threshold=50)


def test_overlaps_are_those_of_numpy():
    rng = np.random.default_rng(1)
    masks, others = (rng.random((count, 5, 9)) < 0.4 for count in (4, 3))
    found = [measure(torch.from_numpy(masks), torch.from_numpy(others)) for measure in (mask_iou, mask_iom)]
    for i, mask in enumerate(masks):
        for j, other in enumerate(others):
            common = (mask & other).sum()
            assert found[0][i, j] == common / (mask | other).sum()
            assert found[1][i, j] == common / min(mask.sum(), other.sum())


def test_many_pixels_are_counted_exactly_even_in_half_precision():
    masks = torch.ones(1, 3, BLOCK_PX, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        assert common_pixels(masks, masks).item() == 3 * BLOCK_PX


def test_boxes_by_hand():
    masks = torch.zeros(3, 6, 7, dtype=torch.bool)
    masks[0, 2, 3] = True
    masks[1, 1:3, 3:5] = True
    assert boxes(masks).tolist() == [[3, 2, 4, 3], [3, 1, 5, 3], [0, 0, 0, 0]]
    assert box_iou(masks, masks).tolist() == [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 0]]
    assert boxes(torch.ones(1, 6, 7, dtype=torch.bool)).tolist() == [[0, 0, 7, 6]]


def test_read_only_and_turned_arrays_are_taken():
    masks = row((0, 6), (2, 4))
    masks.flags.writeable = False
    assert iom_nms(masks[:, :, ::-1], [1, 1]).tolist() == [0]
