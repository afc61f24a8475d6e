"""Class maps from instances, and their IoU."""

import numpy as np
import pytest
import torch

from weclick.common.errors import InputError
from weclick.evaluate import semantic_from_instances, semantic_iou

MASKS = np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 1, 0, 0]]], bool)


def test_the_best_mask_over_a_pixel_gives_its_class():
    drawn = semantic_from_instances(MASKS, np.array([0, 1, 2]), np.array([0.5, 0.9, 0.7]), 3, (1, 4))
    assert drawn.tolist() == [[0, 1, 1, 255]]
    assert drawn.dtype == np.uint8


def test_of_equal_scores_the_first_wins():
    drawn = semantic_from_instances(MASKS, np.array([0, 1, 2]), np.ones(3), 3, (1, 4))
    assert drawn.tolist() == [[0, 0, 1, 255]]


def test_torch_gives_the_same():
    given = torch.from_numpy(MASKS), torch.tensor([0, 1, 2]), torch.tensor([0.5, 0.9, 0.7])
    assert semantic_from_instances(*given, 3, (1, 4)).tolist() == [[0, 1, 1, 255]]


def test_no_instance_leaves_all_pixels_without_a_class():
    drawn = semantic_from_instances(np.zeros((0, 2, 2), bool), np.zeros(0), np.zeros(0), 3, (2, 2))
    assert (drawn == 255).all()


def test_masks_on_other_classes_are_wrong_and_void_is_left_out():
    """Class 1 has instances, class 0 none. The fifth pixel is void."""
    predicted, truth = np.array([[1, 1, 255, 255, 1]], np.uint8), np.array([[1, 0, 1, 0, 255]], np.uint8)
    told = semantic_iou([(predicted, truth)], 3, [1, 2])
    assert told["per_class_iou"][1] == pytest.approx(1 / 3)
    assert np.isnan(told["per_class_iou"][2])
    assert told["miou"] == pytest.approx(1 / 3)


def test_pixels_of_all_images_count_together():
    images = [(np.array([[1, 1]]), np.array([[1, 1]])), (np.array([[255, 255]]), np.array([[1, 0]]))]
    assert semantic_iou(images, 2, [1])["miou"] == pytest.approx(2 / 3)
    assert np.isnan(semantic_iou([], 2, [1])["miou"])


@pytest.mark.parametrize(
    ("masks", "classes", "scores", "told"),
    [
        (MASKS, [0, 1, 3], [1, 1, 1], r"classes \[3\], expected 0 to 2"),
        (MASKS, [0, 1], [1, 1, 1], "expected a class and a score for each mask"),
        (MASKS, [0.0, 1, 2], [1, 1, 1], "classes are float64"),
        (
            MASKS,
            [0, 1, 2],
            [1, np.nan, 1],
            "1 of 3 scores are not finite, nan first; leave these instances out",
        ),
        (MASKS.astype(int), [0, 1, 2], [1, 1, 1], r"int64, expected \(N, 1, 4\) bool"),
        (MASKS[:, :, :3], [0, 1, 2], [1, 1, 1], r"masks are \(3, 1, 3\) bool, expected \(N, 1, 4\) bool"),
    ],
)
def test_what_does_not_fit_is_refused(masks, classes, scores, told):
    with pytest.raises(InputError, match=told):
        semantic_from_instances(masks, np.array(classes), np.array(scores), 3, (1, 4))


def test_wrong_numbers_are_refused():
    with pytest.raises(InputError, match="num_classes is 256, expected 1 to 255"):
        semantic_from_instances(MASKS, np.zeros(3, int), np.ones(3), 256, (1, 4))
    with pytest.raises(InputError, match=r"class_ids are \[2\], expected some of 0 to 1"):
        semantic_iou([], 2, [2])
    with pytest.raises(InputError, match="semantic_iou: truth holds labels"):
        semantic_iou([(np.array([0]), np.array([7]))], 2, [1])
