"""Which click next: where places come from, and that a quarter of them knows nothing of the network."""

from itertools import pairwise

import numpy as np
import pytest

from weclick.clicks.asking import AskOptions, Looked, propose, random_pixels

H, W = 60, 80


def looked(frames=8, pixels=1500, seed=0):
    """Frames whose network is unsure left of x = 8 (10 %), and predicts class 1 above y = 6 (10 %)."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(frames):
        yx = random_pixels((H, W), pixels, rng)
        margin = np.where(yx[:, 1] < 8, 0.1, 0.9) + rng.uniform(0, 0.05, pixels)
        made.append(Looked(yx, margin, (yx[:, 0] < 6).astype(np.uint8), (H, W)))
    return made


def nothing(frames):
    return [np.empty((0, 2), int)] * len(frames)


def ask(frames, count=24, clicked=None, seed=0, **options):
    rng = np.random.default_rng(seed)
    return propose(frames, clicked or nothing(frames), count, rng, AskOptions(**options))


def test_random_pixels_are_different_and_lie_in_the_frame():
    yx = random_pixels((5, 7), 100, np.random.default_rng(0))
    assert sorted(map(tuple, yx.tolist())) == [(y, x) for y in range(5) for x in range(7)]
    assert len(random_pixels((500, 700), 10, np.random.default_rng(0))) == 10


def test_a_quarter_is_random_and_the_rest_lies_where_the_network_is_unsure():
    asks = ask(looked())
    assert len(asks) == 24
    assert sum(each.kind == "random" for each in asks) == 6
    assert all(each.x < 8 and each.margin < 0.2 for each in asks if each.kind == "margin")


def test_asks_know_what_the_network_says_of_their_pixel():
    frames = looked()
    for each in ask(frames):
        (at,) = np.flatnonzero((frames[each.frame].yx == [each.y, each.x]).all(1))
        assert each.predicted == frames[each.frame].predicted[at]
        assert each.margin == frames[each.frame].margin[at]


def test_random_ones_are_uniform_over_pixels_whatever_margins_and_clicks_say():
    frames = looked(frames=2, pixels=H * W)
    frames[1] = Looked(frames[1].yx[:1000], frames[1].margin[:1000], frames[1].predicted[:1000], (H, 3 * W))
    clicks = [np.array([[30, 10]]), np.empty((0, 2), int)]
    asks = ask(frames, 2000, clicks, random_share=1.0)
    first = np.array([[each.y, each.x] for each in asks if each.frame == 0])
    assert len(first) == pytest.approx(500, abs=60)  # a quarter of the area
    assert (first[:, 1] < 8).mean() == pytest.approx(0.1, abs=0.05)
    near = np.hypot(*(first - [30, 10]).T) < 16
    assert near.mean() == pytest.approx(np.pi * 16**2 / (H * W) * 0.8, abs=0.06)  # its left part is cut off


def test_candidates_keep_apart_and_are_few_on_a_frame():
    frames, clicks = looked(), nothing(looked())
    clicks[0] = np.array([[y, 4] for y in range(0, H, 12)])
    asks = [each for each in ask(frames, 200, clicks, random_share=0) if each.kind == "margin"]
    counts = np.bincount([each.frame for each in asks], minlength=len(frames))
    assert counts[0] == 0
    assert counts.max() <= 3
    assert counts[1:].min() >= 2
    for frame in range(len(frames)):
        yx = np.array([[each.y, each.x] for each in asks if each.frame == frame]).reshape(-1, 2)
        apart = np.hypot(*(yx[:, None] - yx[None]).transpose(2, 0, 1))
        assert (apart[~np.eye(len(yx), dtype=bool)] >= 16).all()


def test_no_pixel_is_asked_twice_or_has_a_click():
    frames = [Looked(each.yx[:40], each.margin[:40], each.predicted[:40], each.size) for each in looked(3)]
    clicks = [each.yx[:20] for each in frames]
    asks = ask(frames, 500, clicks, random_share=1.0)
    places = [(each.frame, each.y, each.x) for each in asks]
    assert len(places) == len(set(places)) == 60
    taken = {(i, *place) for i, yx in enumerate(clicks) for place in yx.tolist()}
    assert not taken & set(places)


def test_balanced_asks_take_the_predicted_classes_in_turn():
    plain, balanced = (
        [each.predicted for each in ask(looked(), 16, random_share=0, balanced=on)] for on in (False, True)
    )
    assert np.mean(plain) < 0.35
    assert np.mean(balanced) == 0.5


def test_frames_come_one_after_the_other_in_random_order():
    orders = set()
    for seed in range(3):
        frames = [each.frame for each in ask(looked(), seed=seed)]
        orders.add(tuple(dict.fromkeys(frames)))
        assert sum(a != b for a, b in pairwise(frames)) == len(set(frames)) - 1
    assert len(orders) == 3


def test_the_same_seed_proposes_the_same_and_nothing_proposes_nothing():
    assert ask(looked()) == ask(looked())
    assert ask(looked()) != ask(looked(), seed=1)
    assert propose([], [], 10, np.random.default_rng(0)) == []
