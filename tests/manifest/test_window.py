"""Windows: which neighbours a target may have, and which it draws."""

from __future__ import annotations

import numpy as np
import pytest

from weclick.manifest import Clip, Frame
from weclick.manifest.window import Window, consistency_pairs


def clip_of(*numbers: int, targets: tuple[int, ...] = (), scored: tuple[int, ...] = ()) -> Clip:
    return Clip("c", tuple(Frame(str(n), n, f"{n}.png") for n in numbers), targets, scored)


DENSE = clip_of(*range(100, 121), targets=(0, 10, 20))


def gaps(clip: Clip, target: int, others: tuple[int, ...]) -> list[int]:
    return [clip.frames[i].number - clip.frames[target].number for i in others]


class TestCandidates:
    @pytest.mark.parametrize(
        ("direction", "expected"),
        [("forward", [-1, -2, -3]), ("backward", [1, 2, 3]), ("both", [-1, 1, -2, 2, -3, 3])],
    )
    def test_random_takes_the_whole_range(self, direction, expected):
        window = Window(direction=direction, max_gap_frames=3)
        assert gaps(DENSE, 10, window.candidates(DENSE, 10)) == expected

    @pytest.mark.parametrize(
        ("direction", "frames", "expected"),
        [
            ("forward", 3, [-4, -8]),
            ("backward", 2, [4]),
            ("both", 3, [-4, 4]),
            ("both", 4, [-4, 4, -8]),
        ],
    )
    def test_fixed_takes_multiples_of_the_interval(self, direction, frames, expected):
        window = Window(direction=direction, frames=frames, sampling="fixed", interval_frames=4)
        assert gaps(DENSE, 10, window.candidates(DENSE, 10)) == expected
        assert window.reach_frames == max(abs(gap) for gap in expected)

    def test_one_frame_has_no_neighbours(self):
        window = Window(frames=1)
        assert window.candidates(DENSE, 10) == ()
        assert window.pairs(DENSE) == ()
        assert window.reach_frames == 0

    def test_never_leaves_the_clip(self):
        window = Window(max_gap_frames=4)
        assert window.candidates(DENSE, 0) == ()
        assert gaps(DENSE, 2, window.candidates(DENSE, 2)) == [-1, -2]

    def test_counts_time_not_positions(self):
        sparse = clip_of(0, 30, 58, 60)
        assert gaps(sparse, 1, Window(direction="both").candidates(sparse, 1)) == []
        assert gaps(sparse, 3, Window().candidates(sparse, 3)) == [-2]

    def test_a_missing_frame_is_passed_over(self):
        holed = clip_of(0, 1, 3)
        assert gaps(holed, 2, Window().candidates(holed, 2)) == [-2, -3]


class TestDraw:
    def test_random_draws_distinct_neighbours_all_of_them_in_time(self):
        window, rng = Window(direction="both", frames=3, max_gap_frames=2), np.random.default_rng(0)
        drawn = {window.draw(DENSE, 10, rng) for _ in range(200)}
        assert all(len(set(others)) == 2 for others in drawn)
        assert {frozenset(gaps(DENSE, 10, others)) for others in drawn} == {
            frozenset(pair) for pair in [(-1, 1), (-1, -2), (-1, 2), (1, -2), (1, 2), (-2, 2)]
        }

    def test_equal_generators_draw_the_same(self):
        window = Window()
        first, second = (window.draw(DENSE, 10, np.random.default_rng(5)) for _ in range(2))
        assert first == second

    @pytest.mark.parametrize("sampling", ["random", "fixed"])
    def test_draws_fewer_where_there_are_no_more(self, sampling):
        window = Window(frames=4, sampling=sampling)
        assert window.draw(DENSE, 1, np.random.default_rng(0)) == (0,)
        assert window.draw(DENSE, 0, np.random.default_rng(0)) == ()

    def test_whatever_is_drawn_is_among_the_pairs(self):
        window, rng = Window(direction="both", frames=3), np.random.default_rng(1)
        pairs = set(window.pairs(DENSE))
        assert pairs >= {(t, i) for t in DENSE.targets for _ in range(20) for i in window.draw(DENSE, t, rng)}


class TestConsistencyPairs:
    def test_the_nearest_earlier_frame_within_the_gap(self):
        clip = clip_of(0, 2, 3, 9, 10, scored=(0, 1, 3, 4))
        assert consistency_pairs(clip, 2) == ((1, 0), (4, 3))
        assert consistency_pairs(clip, 6) == ((1, 0), (3, 2), (4, 3))

    def test_none_without_scored_frames(self):
        assert consistency_pairs(DENSE, 4) == ()
