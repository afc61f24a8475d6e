"""Runs of confident frames: which are accepted, where clips have room for them, and which are taken."""

from itertools import pairwise

import numpy as np
import pytest

from weclick.common.errors import InputError
from weclick.manifest import Clip, Frame
from weclick.proxy_labels import filter_runs
from weclick.proxy_labels.runs import Chain, Run, best_runs, chains, confident_runs

SURE, UNSURE = 0.95, 0.5
SCORES = np.array([[UNSURE, SURE, UNSURE]] * 4 + [[UNSURE, SURE, SURE]] * 3 + [[UNSURE, UNSURE, SURE]] * 2)


def clip_of(*numbers: int) -> Clip:
    return Clip("park", tuple(Frame(f"{n:05}", n, f"{n}.jpg", digest=f"{n:064}") for n in numbers))


def runs_in_loops(scores, tau, frames, wanted):
    found = []
    for start in range(len(scores) - frames + 1):
        sets = [{k for k in range(scores.shape[1]) if row[k] > tau} for row in scores[start:][:frames]]
        if all(each == sets[0] for each in sets) and all(k in sets[0] for k in wanted):
            found.append(start)
    return found


def test_sets_have_to_be_equal_and_to_contain_the_wanted_classes():
    assert filter_runs(SCORES, tau=0.9, frames=3, wanted={1}) == [0, 1, 4]
    assert filter_runs(SCORES, tau=0.9, frames=2, wanted={1, 2}) == [4, 5]
    assert filter_runs(SCORES, tau=0.9, frames=2, wanted={0}) == []
    assert filter_runs(SCORES, tau=0.9, frames=4, wanted=()) == [0]


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("wanted", [set(), {0}, {1, 2}])
def test_it_is_what_loops_give(frames, wanted):
    scores = np.random.default_rng(frames).choice([0.2, 0.89, 0.97], (40, 3))
    expected = runs_in_loops(scores, 0.9, frames, wanted)
    assert filter_runs(scores, tau=0.9, frames=frames, wanted=wanted) == expected


def test_tau_has_to_be_exceeded():
    assert filter_runs(np.float32([[0.9], [0.91]]), tau=0.9, frames=1, wanted={0}) == [1]
    assert filter_runs([[np.nan]], tau=0.9, frames=1, wanted={0}) == []


def test_fewer_frames_than_a_run_has_give_none():
    assert filter_runs(SCORES, tau=0.9, frames=10, wanted={1}) == []
    assert filter_runs(np.zeros((0, 3)), tau=0.9, frames=1, wanted=()) == []


@pytest.mark.parametrize(("scores", "frames"), [(SCORES[0], 2), (SCORES, 0)])
def test_what_is_no_table_or_no_run_is_told(scores, frames):
    with pytest.raises(InputError, match=r"expected \(T, K\) and at least 1 frame"):
        filter_runs(scores, tau=0.9, frames=frames, wanted={1})


def test_chains_count_the_numbers_of_frames():
    clip = clip_of(0, 1, 2, 4, 6)
    assert [chain.positions for chain in chains(clip, frames=3, gap_frames=2)] == [(0, 2, 3), (2, 3, 4)]
    assert [chain.positions for chain in chains(clip, frames=2, gap_frames=1)] == [(0, 1), (1, 2)]
    assert [chain.target for chain in chains(clip, frames=1, gap_frames=1)] == [0, 1, 2, 3, 4]


def test_the_last_frame_is_reached_from_the_first():
    (chain,) = chains(clip_of(0, 1, 2), frames=3, gap_frames=1)
    assert chain.legs == ((0, 1, 2),)
    assert chain.pairs == ((1, 0), (2, 1))


@pytest.mark.parametrize(
    ("frames", "legs"),
    [
        (1, ((0,),)),
        (2, ((0, 1),)),
        (3, ((0, 1), (2, 1))),
        (4, ((0, 1, 2), (3, 2))),
        (5, ((0, 1, 2), (4, 3, 2))),
    ],
)
def test_the_middle_is_reached_from_both_sides(frames, legs):
    (chain,) = chains(clip_of(*range(frames)), frames=frames, gap_frames=1, target="middle")
    assert chain.legs == legs
    assert chain.target == legs[0][-1]
    assert chain.pairs == tuple((b, a) for leg in legs for a, b in pairwise(leg))


def test_confident_runs_have_the_classes_that_are_seen():
    found = chains(clip_of(*range(9)), frames=3, gap_frames=1)
    runs = list(confident_runs(found, SCORES, lambda _: frozenset({1}), tau=0.9))
    assert [run.chain.positions[0] for run in runs] == filter_runs(SCORES, tau=0.9, frames=3, wanted={1})
    assert [run.class_ids for run in runs] == [(1,), (1,), (1, 2)]
    assert runs[0].score == pytest.approx(SURE)


def test_without_a_filter_the_tags_are_the_classes():
    found = chains(clip_of(*range(9)), frames=3, gap_frames=1)
    tags = {t: frozenset({1, 2} if t > 6 else {2} if t > 5 else ()) for t in range(9)}
    runs = list(confident_runs(found, SCORES, tags.__getitem__, tau=None))
    assert [(run.chain.target, run.class_ids) for run in runs] == [(6, (2,)), (7, (1, 2)), (8, (1, 2))]
    assert runs[1].score == pytest.approx(np.mean([SURE, SURE, SURE, SURE, UNSURE, SURE]))


def run(first: int, score: float) -> Run:
    return Run(Chain((first, first + 1), first + 1), (1,), score)


def test_the_best_run_is_the_first_of_the_best():
    runs = [run(0, 0.8), run(1, 0.9), run(2, 0.9), run(5, 0.7)]
    assert best_runs(runs, 1) == [runs[1]]
    assert best_runs(runs, 2) == [runs[1], runs[3]]
    assert best_runs([], 1) == []


def test_all_runs_share_no_frame_and_come_in_order():
    runs = [run(0, 0.8), run(1, 0.7), run(2, 0.9), run(3, 0.8), run(4, 0.1)]
    assert best_runs(runs, None) == [runs[0], runs[2], runs[4]]
