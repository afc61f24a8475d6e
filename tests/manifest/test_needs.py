"""Needs of flow: the pairs of each by hand, and how far they reach."""

from dataclasses import replace

import pytest

from weclick.common.config import complete_config
from weclick.common.sections import Method
from weclick.manifest import Clip, Frame
from weclick.manifest.needs import NEEDS, NEEDS_OF, Needs, chain, pair, stack, step
from weclick.manifest.window import Window, consistency_pairs

ALL = ["weclick", "f2f", "two_stream", "maskconsist"]


def clip_of(*numbers: int, targets=(), scored=()) -> Clip:
    frames = tuple(Frame(str(n), n, f"{n}.png", digest=f"{n}") for n in numbers)
    return Clip("c", frames, targets=targets, scored=scored)


DENSE = clip_of(*range(10, 18), targets=(3,))


def needs(**config) -> Needs:
    return Needs.of(complete_config(config))


def test_a_chain_steps_back_from_every_training_frame():
    assert chain(DENSE, 1) == tuple((i, i - 1) for i in range(1, 8))
    assert chain(DENSE, 3) == tuple((i, i - 3) for i in range(3, 8))
    assert chain(clip_of(0, 1, 3, 4, targets=(0,)), 1) == ((1, 0), (3, 2)), "gaps count in frame numbers"
    assert chain(clip_of(0, 1, 3, 4, targets=(0,)), 3) == ((2, 0), (3, 1))
    middle = needs(method="f2f", proxy_labels={"target": "middle", "gap_frames": 6})
    assert middle.pairs(DENSE, "chain") == ((0, 6), (1, 7), (6, 0), (7, 1)), "from both ends"


def test_a_step_looks_one_frame_ahead():
    assert step(DENSE) == tuple((i, i + 1) for i in range(7))


def test_a_pair_goes_there_and_back():
    assert pair(DENSE, 5) == ((0, 5), (5, 0), (1, 6), (6, 1), (2, 7), (7, 2))
    assert pair(DENSE, 8) == ()


def test_a_stack_lies_around_targets_and_scored_frames():
    assert stack(DENSE, -2, 3) == ((1, 2), (2, 3), (3, 4))
    assert stack(DENSE, -4, 10) == tuple((i, i + 1) for i in range(7)), "it ends where the clip does"
    scored = replace(DENSE, targets=(), scored=(1, 2))
    assert stack(scored, -1, 2) == ((0, 1), (1, 2), (2, 3)), "each pair once"


def test_only_training_clips_have_training_frames():
    scored = replace(DENSE, targets=(), scored=(3,))
    assert chain(scored, 1) == step(scored) == pair(scored, 1) == ()


@pytest.mark.parametrize(
    ("method", "of"),
    [
        ("weclick", ("window",)),
        ("f2f", ("window", "chain")),
        ("two_stream", ("window", "stack")),
        ("maskconsist", ("window", "step", "pair")),
    ],
)
def test_each_method_has_its_needs(method: Method, of):
    assert needs(method=method).names == of
    assert needs(serves=ALL).names == NEEDS
    assert NEEDS_OF.keys() == {*ALL}


def test_the_window_of_training_is_made_for_weclick_alone():
    both = replace(DENSE, scored=(6,))
    window = {"direction": "both", "frames": 2, "max_gap_frames": 1}
    of_ours = (*Window(**window).pairs(both), *consistency_pairs(both, 4))
    assert needs(window=window).pairs(both) == of_ours == ((3, 2), (3, 4), (6, 5))
    assert needs(window=window, serves=ALL).pairs(both) == of_ours, "whoever else is served"
    assert needs(window=window, method="f2f").pairs(both) == ((6, 5),)
    assert needs(method="f2f").pairs(DENSE, "step") == (), "which is not served"


def test_all_pairs_are_the_union():
    found = needs(serves=ALL)
    listed = [pair for need in NEEDS for pair in found.pairs(DENSE, need)]
    assert len(found.all_pairs(DENSE)) == len(set(listed)) < len(listed)
    assert set(found.all_pairs(DENSE)) == set(listed)


@pytest.mark.parametrize(
    ("config", "reach_frames", "whole"),
    [
        ({}, 4, False),
        ({"window": {"max_gap_frames": 9}}, 9, False),
        ({"window": {"max_gap_frames": 9}, "method": "f2f"}, 4, True),
        ({"method": "two_stream"}, 6, False),
        ({"method": "two_stream", "stack": {"first": -12, "length": 3}}, 12, False),
        ({"method": "maskconsist"}, 5, False),
        ({"method": "maskconsist", "pair": {"delta_frames": 3}}, 4, False),
        ({"serves": ALL, "pair": {"delta_frames": 8}}, 8, True),
    ],
)
def test_a_clip_is_read_as_far_as_any_served_method_looks(config, reach_frames, whole):
    found = needs(**config)
    assert (found.reach_frames, found.whole) == (reach_frames, whole)
