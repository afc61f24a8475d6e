"""Temporal consistency of instances: by hand, and of the toy street's truth against itself."""

import numpy as np
import pytest
import torch

from helpers.video_instances import street
from weclick.common.errors import InputError
from weclick.evaluate import instance_consistency
from weclick.evaluate.instances.consistency import Step

SIZE = (8, 16)


def shown(*squares, classes=None, scores=None):
    """Squares of 4 x 4 px at (y, x)."""
    masks = np.zeros((len(squares), *SIZE), bool)
    for mask, (y, x) in zip(masks, squares, strict=True):
        mask[y : y + 4, x : x + 4] = True
    count = len(squares)
    return (
        masks,
        np.ones(count, int) if classes is None else np.array(classes),
        np.array(scores or [0.9] * count),
    )


def shift(x):
    """Everything moved to the right by x px."""
    flow = np.zeros((2, *SIZE), np.float32)
    flow[0] = -x
    return flow


def test_the_same_objects_one_frame_later():
    step = Step(shown((0, 0), (4, 8)), shown((0, 3), (4, 11)), shift(3))
    assert instance_consistency([step]) == pytest.approx(1)
    assert instance_consistency([step._replace(flow=shift(0))]) == 0


def test_numpy_and_torch_are_one():
    step = Step(shown((0, 0)), shown((0, 3)), shift(3))
    in_torch = Step(*(tuple(map(torch.from_numpy, part)) for part in step[:2]), torch.from_numpy(step.flow))
    assert instance_consistency([in_torch]) == instance_consistency([step]) == pytest.approx(1)


def test_only_sure_predictions_are_taken_for_truth():
    earlier = shown((0, 0), (4, 8), scores=[0.9, 0.4])
    step = Step(earlier, shown((0, 0)), shift(0))
    assert instance_consistency([step]) == pytest.approx(1)
    assert instance_consistency([step], min_score=0.3) == pytest.approx(51 / 101)
    assert np.isnan(instance_consistency([step], min_score=0.95))


def test_classes_must_agree():
    step = Step(shown((0, 0), classes=[1]), shown((0, 0), classes=[2]), shift(0))
    assert instance_consistency([step]) == 0


def test_what_is_new_and_surer_costs_precision():
    step = Step(shown((0, 0)), shown((0, 0), (4, 12), scores=[0.6, 0.9]), shift(0))
    assert instance_consistency([step]) == pytest.approx(0.5)


def test_what_leaves_the_image_is_not_asked_for():
    step = Step(shown((0, 0), (4, 12)), shown((0, 4)), shift(4))
    assert instance_consistency([step]) == pytest.approx(1)


def test_pixels_without_a_believed_flow_are_left_out():
    """Half of the object is hidden later, and a new one appears where the flow is not believed."""
    hidden = shown((0, 0), (4, 12))
    hidden[0][0, :, 1:] = False
    valid = np.ones(SIZE, bool)
    step = Step(shown((0, 0)), hidden, shift(0))
    assert instance_consistency([step]) == 0
    valid[:, 1:] = False
    assert instance_consistency([step._replace(valid=valid)]) == pytest.approx(1)


def test_frames_count_together():
    one, none = shown((0, 0)), shown()
    steps = [Step(one, one, shift(0)), Step(one, none, shift(0)), Step(none, none, shift(0))]
    assert instance_consistency(steps) == pytest.approx(51 / 101)
    assert np.isnan(instance_consistency([]))


@pytest.mark.parametrize("clip_index", [0, 1])
def test_the_truth_is_consistent_with_itself_where_nothing_is_hidden(clip_index):
    there = street(clip_index, frames=6, height=64, width=128)
    masks = there.instances
    steps = [Step(masks[t - 1], masks[t], there.flows[t], there.visible[t]) for t in range(1, len(masks))]
    seen = instance_consistency(steps)
    assert seen >= 0.99
    assert 0.75 <= instance_consistency([step._replace(valid=None) for step in steps]) < seen


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"flow": np.zeros((2, 4, 4))},
            r"step 0: the flow is \(2, 4, 4\) float64, expected floating point \(2, 8, 16\)",
        ),
        ({"valid": np.ones(SIZE)}, r"step 0: valid is \(8, 16\) float64, expected \(8, 16\) bool"),
        ({"earlier": (np.zeros((0, 4, 4), bool), [], [])}, "step 0, earlier frame: masks are"),
        ({"later": shown((0, 0))[:2]}, "step 0, later frame: 2 arrays, expected masks, classes and scores"),
    ],
)
def test_what_does_not_fit_is_refused(change, told):
    step = Step(shown((0, 0)), shown((0, 0)), shift(0))
    with pytest.raises(InputError, match=told):
        instance_consistency([step._replace(**change)])
