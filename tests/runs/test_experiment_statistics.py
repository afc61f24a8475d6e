"""Intervals and numbers of seeds, on invented values: by hand, against scipy, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from weclick.runs.experiment.statistics import MOST_SEEDS, better_of, estimate, paired, seeds_needed


def test_an_interval_by_hand():
    """Values 1, 2, 3: mean 2, spread 1, t of 2 degrees of freedom 4.3027, standard error 1 / sqrt 3."""
    told = estimate([1.0, 3.0, 2.0])
    assert (told["n"], told["mean"], told["spread"]) == (3, 2.0, 1.0)
    assert told["low"] == pytest.approx(2 - 4.30265 / 3**0.5, abs=1e-4)
    assert told["high"] == pytest.approx(2 + 4.30265 / 3**0.5, abs=1e-4)


def test_an_interval_is_that_of_scipy():
    values = [0.675, 0.653, 0.567, 0.61, 0.64]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    told = estimate(values)
    assert (told["low"], told["high"]) == (pytest.approx(low), pytest.approx(high))


def test_too_few_values_tell_less():
    assert estimate([]) == {"values": [], "n": 0, "mean": None, "spread": None, "low": None, "high": None}
    one = estimate([None, 0.5, float("nan")])
    assert (one["n"], one["mean"], one["spread"], one["low"]) == (1, 0.5, None, None)


def test_paired_differences_are_a_paired_test():
    of, minus = [0.66, 0.62, 0.55, 0.63], [0.59, 0.60, 0.56, 0.57]
    told = paired(of, minus)
    low, high = stats.ttest_rel(of, minus).confidence_interval(0.95)
    assert (told["low"], told["high"]) == (pytest.approx(low), pytest.approx(high))
    assert told["values"] == pytest.approx([0.07, 0.02, -0.01, 0.06])


def test_a_seed_without_its_pair_has_no_difference():
    told = paired([0.5, None, 0.7], [0.4, 0.6, float("nan")])
    assert told["values"] == [pytest.approx(0.1), None, None]
    assert told["n"] == 1


def test_the_better_arm_has_the_higher_mean():
    arms = {"a": estimate([0.5, 0.6]), "b": estimate([0.7, 0.5]), "c": estimate([0.6]), "d": estimate([])}
    assert better_of(arms) == "b"
    assert better_of({"d": estimate([None])}) is None
    assert better_of({"one": estimate([0.5]), "two": estimate([0.5])}) == "one"


@pytest.mark.parametrize(
    ("spread", "effect", "needed"),
    [
        (1.0, 1.0, 10),  # 34, 10, 199 and 5: the tables of a paired t-test at 5 % on both sides, power 80 %
        (1.0, 0.5, 34),
        (1.0, 0.2, 199),
        (0.02, 0.04, 5),
        (0.0, 0.02, 2),
        (1e-9, 1.0, 2),
        (1.0, 0.01, None),
        (None, 0.02, None),
    ],
)
def test_how_many_seeds_an_effect_needs(spread, effect, needed):
    assert seeds_needed(spread, effect) == needed


def test_so_many_seeds_see_the_effect_four_times_of_five():
    rng, effect, spread = np.random.default_rng(0), 0.03, 0.025
    seeds = seeds_needed(spread, effect)
    assert 2 < seeds < MOST_SEEDS

    def seen(count):
        drawn = rng.normal(effect, spread, (20_000, count))
        return float(np.mean(stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05))

    assert seen(seeds) >= 0.79
    assert seen(seeds - 1) < 0.8
