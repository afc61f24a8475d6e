"""Average precision on images by COCO's evaluator: what goes in, and what is told."""

import copy

import numpy as np
import pytest

from helpers.video_instances import rle
from weclick.common.errors import InputError
from weclick.evaluate import instance_ap

SIZE = (40, 40)


def square(y, x, side=10):
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return rle(mask)


def entry(mask, image=0, category=1, **further):
    return {"image_id": image, "category_id": category, "segmentation": mask, **further}


def data_set(*annotations, images=(0,)):
    return {
        "images": [{"id": image, "height": SIZE[0], "width": SIZE[1]} for image in images],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": [{"id": number, **each} for number, each in enumerate(annotations)],
    }


def test_the_first_annotation_may_have_the_id_0():
    figures = instance_ap(data_set(entry(square(0, 0))), [entry(square(0, 0), score=0.5)])
    assert (figures["AP"], figures["AP_small"], figures["AR1"]) == pytest.approx((1, 1, 1))
    assert np.isnan(figures["AP_large"])


def test_a_detection_of_two_thirds_counts_up_to_its_overlap():
    """100 common pixels of 100 + 150 - 100: .667 lies above .5, .55, .6 and .65."""
    wide = np.zeros(SIZE, bool)
    wide[:10, :15] = True
    figures = instance_ap(data_set(entry(square(0, 0))), [entry(rle(wide), score=0.5)])
    assert (figures["AP"], figures["AP50"], figures["AP75"]) == pytest.approx((0.4, 1, 0))


def test_a_crowd_excuses_what_lies_in_it():
    truth = data_set(entry(square(0, 0, 30), iscrowd=1), entry(square(30, 30)))
    found = [
        entry(square(0, 0), score=0.9),
        entry(square(10, 10), score=0.8),
        entry(square(30, 30), score=0.7),
    ]
    assert instance_ap(truth, found)["AP50"] == pytest.approx(1)
    assert instance_ap(data_set(entry(square(30, 30))), found)["AP50"] == pytest.approx(1 / 3)


def test_nothing_found_nothing_there():
    assert instance_ap(data_set(entry(square(0, 0))), [])["AP"] == 0
    assert np.isnan(instance_ap(data_set(), [])["AP50"])


def test_at_most_a_hundred_detections_of_an_image_count():
    wrong = [entry(square(20, 20), score=0.9)] * 100
    truth = data_set(entry(square(0, 0)), images=(0, 1))
    assert instance_ap(truth, [*wrong, entry(square(0, 0), score=0.1)])["AP50"] == 0
    assert instance_ap(truth, [*wrong[:99], entry(square(0, 0), score=0.1)])["AP50"] == pytest.approx(0.01)


def test_it_prints_nothing_and_changes_nothing(capsys):
    given = data_set(entry(square(0, 0), area=50)), [entry([[0, 0, 9, 0, 9, 9]], score=1)]
    before = copy.deepcopy(given)
    instance_ap(*given)
    assert given == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_id": 5}, "detections, entry 0: image_id is 5, which the ground truth does not have"),
        ({"category_id": 3}, "category_id is 3, expected one of 1, 2"),
        ({"score": "high"}, "score is 'high', expected a finite number"),
        ({"segmentation": None}, "detections, entry 0: the mask cannot be read: it is None"),
        ({"segmentation": {"size": [40, 40], "counts": [5]}}, "has runs of 5 in all"),
    ],
)
def test_a_wrong_detection_is_refused(change, told):
    with pytest.raises(InputError, match=told):
        instance_ap(data_set(entry(square(0, 0))), [{**entry(square(0, 0), score=0.5), **change}])


def test_a_video_file_is_refused():
    with pytest.raises(InputError, match="images is missing, expected a list of objects"):
        instance_ap({"videos": [], "annotations": [], "categories": [{"id": 1}]}, [])
