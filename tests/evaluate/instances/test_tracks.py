"""Instances linked along the flow: by hand, and the true masks of the toy street."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from helpers.video_instances import data_set, street
from weclick.common.errors import InputError
from weclick.evaluate import link_tracks, track_predictions, video_ap

SIZE = (8, 20)


def shown(*squares, classes=None, scores=None):
    """Squares of 4 x 4 px at (y, x)."""
    masks = np.zeros((len(squares), *SIZE), bool)
    for mask, (y, x) in zip(masks, squares, strict=True):
        mask[y : y + 4, x : x + 4] = True
    count = len(squares)
    return masks, np.array(classes or [1] * count), np.array(scores or [0.9] * count)


def shift(x):
    flow = np.zeros((2, *SIZE), np.float32)
    flow[0] = -x
    return flow


def seen(track):
    """Frames of a track and the left edge of its masks there."""
    return {t: int(coco_mask.toBbox(code)[0]) for t, code in enumerate(track.masks) if code}


def test_objects_are_followed_where_the_flow_takes_them():
    frames = [shown((0, 0), (4, 6)), shown((4, 11), (0, 5)), shown((0, 10), (4, 16))]
    tracks = link_tracks(frames, [None, shift(5), shift(5)])
    assert [seen(track) for track in tracks] == [{0: 0, 1: 5, 2: 10}, {0: 6, 1: 11, 2: 16}]


def test_without_motion_nothing_follows():
    tracks = link_tracks([shown((0, 0)), shown((0, 5))], [None, shift(0)])
    assert [seen(track) for track in tracks] == [{0: 0}, {1: 5}]


def test_a_track_ends_where_nothing_follows():
    tracks = link_tracks([shown((0, 0)), shown(), shown((0, 0))], [None, shift(0), shift(0)])
    assert [seen(track) for track in tracks] == [{0: 0}, {2: 0}]


def test_the_pairs_have_the_largest_sum():
    """The best single pair would leave the other two squares alone."""
    frames = [shown((0, 0), (0, 3)), shown((0, 2), (0, 5))]
    tracks = link_tracks(frames, [None, shift(0)])
    assert [seen(track) for track in tracks] == [{0: 0, 1: 2}, {0: 3, 1: 5}]
    strict = link_tracks(frames, [None, shift(0)], min_iou=0.4)
    assert [seen(track) for track in strict] == [{0: 0}, {0: 3, 1: 2}, {1: 5}]


def test_doubles_are_dropped_whatever_their_class():
    frames = [shown((0, 0), (0, 1), (4, 12), classes=[1, 2, 1], scores=[0.5, 0.9, 0.4])]
    tracks = link_tracks(frames, [None])
    assert [(seen(track), track.class_id) for track in tracks] == [({0: 1}, 2), ({0: 12}, 1)]
    assert len(link_tracks(frames, [None], max_overlap=0.6)) == 3  # 12 common pixels of 20


def test_the_class_has_the_largest_sum_and_the_score_is_the_mean():
    frames = [shown((0, 0), classes=[c], scores=[s]) for c, s in ((1, 0.3), (2, 0.5), (1, 0.4))]
    (track,) = link_tracks(frames, [None, shift(0), shift(0)])
    assert (track.class_id, track.score) == (1, pytest.approx(0.4))


def test_empty_clips_have_no_tracks():
    assert link_tracks([], []) == []
    assert link_tracks([shown(), shown()], [None, shift(0)]) == []


@pytest.fixture(scope="module")
def streets():
    """Every fourth frame, objects of at least 150 px."""
    size = {"height": 128, "width": 256}
    return [street(k, frames=5, step=4, min_pixels=150, **size) for k in (0, 1)]


def tracked(streets, flows):
    """Video AP of the tracks of true masks."""
    truth = data_set(
        [entry for video, each in enumerate(streets) for entry in each.annotations(video)],
        frames=5,
        size=(128, 256),
        videos=range(len(streets)),
        categories=(7, 8),
    )
    tracks = [link_tracks(each.instances, flow) for each, flow in zip(streets, flows, strict=True)]
    return video_ap(
        truth, [entry for v, of_video in enumerate(tracks) for entry in track_predictions(of_video, v)]
    )


def test_true_masks_of_the_street_are_tracked_by_their_flow(streets):
    by_flow = tracked(streets, [each.flows for each in streets])
    by_place = tracked(streets, [[np.zeros((2, 128, 256))] * 5] * len(streets))
    assert by_flow["AP"] >= 0.95
    assert by_place["AP"] < 0.8


@pytest.mark.parametrize(
    ("frames", "flows", "told"),
    [
        ([shown()], [], "1 frames and 0 flows, expected one for each frame"),
        ([shown(), shown()], [None, np.zeros((2, 3, 3))], "frame 1: the flow is .2, 3, 3. float64, expected"),
        ([shown(), shown()], [None, None], "frame 1: the flow is .. object, expected floating point"),
        ([shown(), (np.zeros((0, 3, 3), bool), [], [])], [None, shift(0)], "frame 1: masks are"),
    ],
)
def test_what_does_not_fit_is_refused(frames, flows, told):
    with pytest.raises(InputError, match=told):
        link_tracks(frames, flows)
