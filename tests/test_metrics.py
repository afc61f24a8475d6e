"""Scores against counting by hand and by loops, and the rules of the Cityscapes score."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weclick.metrics import ConfusionMatrix, average_precision

CLASSES = 4


def scored(pred, truth, num_classes=CLASSES):
    matrix = ConfusionMatrix(num_classes)
    matrix.update(np.array(pred), np.array(truth))
    return matrix


labels = arrays(np.uint8, (6, 5), elements=st.sampled_from([0, 1, 2, 3, 255]))
predictions = arrays(np.int64, (6, 5), elements=st.sampled_from([-1, 0, 1, 2, 3, 4, 255]))


@settings(max_examples=40, deadline=None)
@given(pred=predictions, truth=labels)
def test_scores_equal_loops_over_classes(pred, truth):
    matrix = scored(pred, truth)
    counted = truth != 255
    ious, accuracies = [], []
    for k in range(CLASSES):
        hits = np.sum(counted & (pred == k) & (truth == k))
        union = np.sum(counted & ((pred == k) | (truth == k)))
        ious.append(hits / union if union else np.nan)
        if np.any(truth == k):
            accuracies.append(hits / np.sum(truth == k))
    np.testing.assert_allclose(matrix.iou(), ious)
    known = [iou for iou in ious if not np.isnan(iou)]
    np.testing.assert_allclose(matrix.miou(), np.mean(known) if known else np.nan)
    np.testing.assert_allclose(matrix.mean_accuracy(), np.mean(accuracies) if accuracies else np.nan)
    share = np.mean((pred == truth)[counted]) if counted.any() else np.nan
    np.testing.assert_allclose(matrix.pixel_accuracy(), share)


def test_by_hand():
    matrix = scored([[0, 0, 1], [1, 1, 0]], [[0, 0, 0], [1, 1, 255]], num_classes=2)
    assert matrix.matrix.tolist() == [[2, 1, 0], [0, 2, 0]]
    assert matrix.iou().tolist() == pytest.approx([2 / 3, 2 / 3])
    assert matrix.miou() == pytest.approx(2 / 3)
    assert matrix.mean_accuracy() == pytest.approx((2 / 3 + 1) / 2)
    assert matrix.pixel_accuracy() == pytest.approx(4 / 5)


def test_a_class_that_occurs_nowhere_is_left_out():
    matrix = scored([0, 1], [0, 1])
    assert np.isnan(matrix.iou()[2:]).all()
    assert matrix.miou() == 1


def test_a_class_predicted_but_absent_scores_zero():
    matrix = scored([0, 2], [0, 0])
    assert matrix.iou()[2] == 0
    assert matrix.miou() == pytest.approx((0.5 + 0) / 2)
    assert matrix.mean_accuracy() == 0.5  # of the classes of the truth alone


@pytest.mark.parametrize("void", [-1, 4, 255])
def test_a_void_prediction_is_a_false_negative(void):
    matrix = scored(np.array([0, void]), [0, 0])
    assert matrix.iou()[0] == 0.5
    assert matrix.miou() == 0.5
    assert matrix.pixel_accuracy() == 0.5
    assert matrix.matrix[0].tolist() == [1, 0, 0, 0, 1]


def test_predictions_on_ignored_truth_do_not_count():
    assert not scored([3, 3, 1], [255, 255, 255]).matrix.any()


def test_nothing_counted_gives_nan():
    matrix = ConfusionMatrix(3)
    assert np.isnan([matrix.miou(), matrix.mean_accuracy(), matrix.pixel_accuracy()]).all()


def test_torch_and_numpy_and_mixed_types_count_alike():
    pred, truth = torch.randint(0, 4, (2, 5, 5)), torch.randint(0, 4, (2, 5, 5)).byte()
    matrices = [ConfusionMatrix(CLASSES) for _ in range(3)]
    matrices[0].update(pred, truth)
    matrices[1].update(pred.numpy().astype(np.uint8), truth.numpy())
    matrices[2].update(pred.int(), truth.numpy())
    assert all(np.array_equal(matrices[0].matrix, other.matrix) for other in matrices[1:])


def test_inputs_stay_as_they_are():
    pred = np.array([7, 0])
    scored(pred, [0, 0])
    assert pred.tolist() == [7, 0]


def test_images_add_up_and_matrices_merge():
    rng = np.random.default_rng(0)
    images = rng.integers(0, CLASSES, (3, 2, 8, 8))
    whole, parts = ConfusionMatrix(CLASSES), [ConfusionMatrix(CLASSES) for _ in range(3)]
    for part, (pred, truth) in zip(parts, images, strict=True):
        whole.update(pred, truth)
        part.update(pred, truth)
    total = ConfusionMatrix(CLASSES)
    for part in parts:
        total += part
    assert np.array_equal(total.matrix, whole.matrix)


def test_errors_teach():
    matrix = ConfusionMatrix(CLASSES)
    with pytest.raises(ValueError, match=r"pred has shape \(2,\) and truth \(3,\).*upsample"):
        matrix.update(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(ValueError, match=r"truth holds labels \[4, 9\], expected 0\.\.3 or 255"):
        matrix.update(np.zeros(3, int), np.array([0, 9, 4]))
    with pytest.raises(ValueError, match=r"labels are float32.*argmax"):
        matrix.update(torch.zeros(2), np.zeros(2, int))
    with pytest.raises(ValueError, match="cannot add a matrix of 5 classes"):
        matrix += ConfusionMatrix(5)
    with pytest.raises(ValueError, match="num_classes is 4 and ignore 3"):
        ConfusionMatrix(4, ignore=3)
    assert not matrix.matrix.any()


# --- average precision ------------------------------------------------------------------------------------


def test_average_precision_is_the_mean_precision_at_the_images_that_show_the_class():
    rng = np.random.default_rng(0)
    scores, truth = rng.random((30, 3)).round(1), rng.random((30, 3)) < 0.3  # rounded: some are equal
    expected = []
    for k in range(3):
        precisions = []
        for n in np.flatnonzero(truth[:, k]):
            first = [m for m in range(30) if scores[m, k] >= scores[n, k]]
            precisions.append(sum(truth[m, k] for m in first) / len(first))
        expected.append(sum(precisions) / len(precisions))
    np.testing.assert_allclose(average_precision(scores, truth), expected)


def test_average_precision_of_perfect_useless_and_absent_classes():
    truth = np.array(
        [[True, True, False], [False, False, False], [True, False, False], [False, False, False]]
    )
    scores = np.array([[0.9, 0.5, 0.1], [0.1, 0.5, 0.9], [0.8, 0.5, 0.2], [0.2, 0.5, 0.3]])
    perfect, useless, absent = average_precision(scores, truth)
    assert perfect == 1.0
    assert useless == 0.25  # all images are equal: the share of those that show the class
    assert np.isnan(absent)
    assert np.isnan(average_precision(np.empty((0, 2)), np.empty((0, 2), bool))).all()
