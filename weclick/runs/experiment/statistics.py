"""Means over seeds with their intervals, paired differences, and how many seeds an effect needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from scipy import stats

from weclick.common import words

LEVEL = 0.95
"""Share of intervals that cover the true mean, if values are drawn from a normal distribution."""

POWER = 0.8
"""How often an effect should be seen that is there."""

MOST_SEEDS = 1000
"""No experiment is told to train more seeds than this."""

_SURE = 30.0
"""An effect so many standard errors beyond the bound is always seen, and scipy may give NaN there."""

Values = Sequence[float | None]


def estimate(values: Values) -> dict[str, Any]:
    """Mean, spread and t-interval of some values.

    Args:
        values: one for each seed; None where it is not known.

    Returns:
        values; n, how many are known; mean; spread, the sample standard deviation; low and high, the bounds
        of the mean's 95 % interval by Student's t with n - 1 degrees of freedom. What too few values do not
        tell is None: all of it without any, spread and bounds for a single one.
    """
    known = [float(value) for value in values if value is not None and words.known(value)]
    told = {"values": list(values), "n": len(known), "mean": None, "spread": None, "low": None, "high": None}
    if known:
        told["mean"] = mean(known)
    if len(known) > 1:
        spread = stdev(known)
        half = float(stats.t.ppf((1 + LEVEL) / 2, len(known) - 1)) * spread / len(known) ** 0.5
        told |= {"spread": spread, "low": mean(known) - half, "high": mean(known) + half}
    return told


def paired(of: Values, minus: Values) -> dict[str, Any]:
    """The `estimate` of the differences of two arms, seed by seed.

    Args:
        of, minus: values of the arms, for the same seeds in the same order. A seed of which one of them is
            not known has no difference.
    """
    return estimate([_difference(a, b) for a, b in zip(of, minus, strict=True)])


def better_of(arms: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The name of the arm with the highest mean; the first of equal ones; None if no mean is known.

    Args:
        arms: name -> `estimate`.
    """
    known = {name: arm["mean"] for name, arm in arms.items() if words.known(arm["mean"])}
    return max(known, key=known.__getitem__) if known else None


def seeds_needed(spread: float | None, effect: float) -> int | None:
    """How many seeds show an effect, by a paired t-test on both sides at 5 % with 80 % power.

    Args:
        spread: sample standard deviation of the paired differences; it is taken for the true one.
        effect: mean difference to see, above 0, in the same unit.

    Returns:
        At least 2; None if the spread is not known or if even MOST_SEEDS are too few.
    """
    if spread is None or not words.known(spread) or _power(MOST_SEEDS, spread, effect) < POWER:
        return None
    few, enough = 1, MOST_SEEDS
    while enough - few > 1:  # the power rises with the number of seeds
        middle = (few + enough) // 2
        few, enough = (few, middle) if _power(middle, spread, effect) >= POWER else (middle, enough)
    return enough


def _power(seeds: int, spread: float, effect: float) -> float:
    """The probability that a paired t-test of so many seeds sees the effect."""
    freedom = seeds - 1
    bound = float(stats.t.ppf((1 + LEVEL) / 2, freedom))
    shift = effect * seeds**0.5 / spread if spread > 0 else math.inf
    if shift > bound + _SURE:
        return 1.0
    return float(stats.nct.sf(bound, freedom, shift))  # to see it the wrong way round is no success


def _difference(a: float | None, b: float | None) -> float | None:
    return a - b if a is not None and b is not None and words.known(a) and words.known(b) else None
