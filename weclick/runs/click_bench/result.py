"""What the arms reached, side by side: areas under their curves, and differences from random points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from weclick.common import words
from weclick.runs.click_bench.arms import BASE, FINDINGS
from weclick.runs.click_bench.simulate import Curve
from weclick.runs.experiment.statistics import LEVEL, estimate, paired

AXES = ("clicks", "seconds")
STEPS_S = 8
"""Values of the axis of seconds that are told."""

Curves = Mapping[str, Sequence[Curve]]
"""Arm -> its curve for each seed, in one order of seeds."""


def compare(curves: Curves, classes: Sequence[str]) -> dict[str, Any]:
    """All arms, also those that lose.

    Args:
        curves: of all arms.
        classes: names.

    Returns:
        arms: name -> what it reached. `over_clicks` and `over_seconds` hold the `estimate` of its mIoU along
        an axis. `area` holds, for both axes, the `estimate` of the mean mIoU under its curve, and `gain` the
        paired difference of these from random points. `wins` says whether the gain is above 0, even if one
        asks as often as there are arms and axes. findings: text -> paired differences, likewise.
    """
    grids = {axis: _grid(curves, axis) for axis in AXES}
    areas = {axis: {name: _areas(each, grids[axis], axis) for name, each in curves.items()} for axis in AXES}
    questions = len(AXES) * max(len(curves) - 1, 1)
    arms = {}
    for name, each in curves.items():
        gains = {axis: paired(areas[axis][name], areas[axis][BASE]) for axis in AXES}
        arms[name] = {
            **{f"over_{axis}": _over(each, grids[axis], axis) for axis in AXES},
            "area": {axis: estimate(areas[axis][name]) for axis in AXES},
            "gain": gains,
            "wins": {axis: name != BASE and surely_positive(gains[axis], questions) for axis in AXES},
            "seconds": estimate([curve.seconds[-1] for curve in each]),
            "clicks": [curve.clicks[-1] for curve in each],
            "void": [curve.void for curve in each],
            "clicks_of_class": dict(
                zip(classes, np.mean([curve.per_class for curve in each], 0).tolist(), strict=True)
            ),
            "ran_out": sum(curve.ran_out for curve in each),
        }
    findings = {
        told: {axis: paired(areas[axis][arm], areas[axis][other]) for axis in AXES}
        for told, arm, other in FINDINGS
        if arm in curves and other in curves
    }
    return {"arms": arms, "findings": findings, "questions": questions}


def surely_positive(gain: Mapping[str, Any], questions: int) -> bool:
    """Whether a mean difference is above 0, at 95 % for all `questions` together (Bonferroni).

    Twelve intervals of 95 % each would show a winner by chance in one of four comparisons of equal arms.
    """
    if gain["n"] < 2:
        return False
    level = 1 - (1 - LEVEL) / questions
    half = float(stats.t.ppf((1 + level) / 2, gain["n"] - 1)) * gain["spread"] / gain["n"] ** 0.5
    return bool(gain["mean"] - half > 0)


def _grid(curves: Curves, axis: str) -> np.ndarray:
    """Values of an axis at which arms are compared, from the common start to where the first one ends.

    An arm that ran out of things to click stays where it is: a person could do no more in that way.
    """
    every = [(curve, getattr(curve, axis)) for each in curves.values() for curve in each]
    begin = max(values[0] for _, values in every)
    end = min((values[-1] for curve, values in every if not curve.ran_out), default=every[0][1][-1])
    if axis == "clicks":
        known = sorted({value for _, values in every for value in values if begin <= value <= end})
        return np.array(known, float)
    return np.linspace(begin, max(end, begin), STEPS_S)


def _at(curve: Curve, grid: np.ndarray, axis: str) -> np.ndarray:
    return np.interp(grid, getattr(curve, axis), curve.miou)


def _areas(each: Sequence[Curve], grid: np.ndarray, axis: str) -> list[float]:
    """Mean mIoU under each seed's curve."""
    fine = np.linspace(grid[0], grid[-1], 201)
    return [float(np.trapezoid(_at(curve, fine, axis), np.linspace(0, 1, 201))) for curve in each]


def _over(each: Sequence[Curve], grid: np.ndarray, axis: str) -> list[dict[str, Any]]:
    values = np.array([_at(curve, grid, axis) for curve in each])
    return [{axis: float(at), **estimate(values[:, i].tolist())} for i, at in enumerate(grid)]


def lines_of(result: Mapping[str, Any]) -> list[str]:
    """The result as a table for a terminal."""
    told, (first, further) = result["arms"], result["seconds_of_clicks"].values()
    head = f"{'':<27}{'mIoU at the end':>16}{'area over clicks':>18}{'gain':>28}{'gain over seconds':>28}"
    lines = [head + f"{'seconds':>9}{'void':>6}"]
    for name, arm in told.items():
        end, seconds = arm["over_clicks"][-1]["mean"], arm["seconds"]["mean"]
        row = f"{name:<27}{words.percent(end):>16}{words.percent(arm['area']['clicks']['mean']):>18}"
        for axis in AXES:
            row += f"{'' if name == BASE else _gain(arm, axis):>28}"
        lines.append(row + f"{seconds:>9.0f}{np.mean(arm['void']):>6.1f}")
    lines += [
        f"gain: mean difference of the area from {BASE}, in points of mIoU, with its paired 95 % interval",
        f"*: above 0 at 95 % for all {result['questions']} comparisons together",
        f"seconds: {first} s for the first click of a class on a frame, {further} s for a further one",
    ]
    for what, gain in result["findings"].items():
        lines.append(f"{what}: {_interval(gain['clicks'])} points over clicks")
    for name, arm in told.items():
        if arm["ran_out"]:
            most = max(arm["clicks"])
            lines.append(f"{name}: ran out of things to click, after at most {most} clicks; then it stays")
    return lines


def _gain(arm: Mapping[str, Any], axis: str) -> str:
    return _interval(arm["gain"][axis]) + ("*" if arm["wins"][axis] else " ")


def _interval(gain: Mapping[str, Any]) -> str:
    return f"{words.points(gain['mean'])} ({words.points(gain['low'])} to {words.points(gain['high'])})"
