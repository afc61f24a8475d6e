"""Charts as SVG text. Their colours are literal, so that any program draws them, on light and dark grounds.

The page puts its own ink and font over them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from types import MappingProxyType
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, PercentFormatter

from weclick.common import words

INK, MUTED, GRID = "#676d77", "#777d87", "#b9bcc2"
"""Of texts and lines; legible on white and on black. On the page, style.css replaces them by its own."""

RUNS = ("#337fcc", "#cc6b0a", "#9c0be5", "#7f5c39", "#e5398f", "#b28150", "#b22c9c", "#995007")
"""Colours of runs, as --run-0 to --run-7 of style.css. Colour-blind people tell all of them apart (a CIELAB
distance of 16 and more, as Machado et al. 2009 simulate their sight). Each has a contrast of 3 and more on
white and on black."""

STUDENT, TEACHER = RUNS[:2]
MAX_RUNS = len(RUNS)
"""The number of colours that tell runs apart."""

MARKERS = "os^DvPX*"
"""One for each colour, so that colour is not all that tells lines apart."""
ROLE_COLORS = {
    "student": STUDENT,
    "teacher": TEACHER,
    "detector": STUDENT,
    "instances": TEACHER,
    **{f"run-{i}": color for i, color in enumerate(RUNS)},
}
HEAT = (0.16, 0.47, 0.86)
"""RGB of confusion cells; their opacity is the share, so it suits any background."""

MAX_POINTS = 300
"""Points of a curve at most; longer logs are averaged in blocks."""

Curve = tuple[Sequence[float], Sequence[float]]
"""Steps and values."""


def curve_chart(
    curves: Mapping[str, Curve], *, name: str, alt: str, percent: bool = False, axis: str = "training step"
) -> str:
    """Lines over training steps, one per role or run; long ones are averaged in blocks.

    Args:
        curves: student, teacher, detector, or run-0 .. run-7 -> steps and values; NaN leaves a gap.
        name: unique in the page; ids inside the chart begin with it.
        alt: what it shows, for readers who cannot see it.
        percent: the values are few, and shares; each is drawn as a dot.
        axis: what stands in the place of steps, if others than these are counted.
    """
    figure, axes = _axes(5.2, 2.9)
    for role, curve in curves.items():
        steps, values = (np.array(part, float) for part in curve)
        color = ROLE_COLORS[role]
        if percent:
            axes.plot(steps, values, color=color, marker="o", markersize=4, linewidth=1.6)
        else:
            axes.plot(*_averaged(steps, values), color=color, linewidth=1.6)
    axes.set_xlabel(axis, color=MUTED)
    axes.set_ylim(0, _upper_limit([values for _, values in curves.values()]))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return _svg(figure, name, alt)


def confusion_chart(matrix: np.ndarray, names: Sequence[str], *, name: str, alt: str) -> str:
    """Show which classes were predicted for the pixels of each true class.

    Args:
        matrix: (K, K) or (K, K + 1) pixel counts, rows true classes, columns predicted ones. A last column
            beyond the classes counts predictions that are no class; it is left out if it is empty.
        names: K classes.
        name: unique in the page.
        alt: what it shows.
    """
    counts = np.asarray(matrix, np.float64)
    if counts.shape[1] > len(names) and not counts[:, -1].any():
        counts = counts[:, :-1]
    columns = [*names, "no class"][: counts.shape[1]]
    total = counts.sum(1, keepdims=True)
    share = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    cell = float(np.clip(8.0 / len(columns), 0.2, 0.7))
    figure, axes = _axes(1.7 + cell * len(columns), 1.5 + cell * len(names), grid=False)
    opacity = np.sqrt(np.nan_to_num(share))  # the root lifts small mistakes into sight
    axes.imshow(np.dstack([np.broadcast_to(HEAT, (*share.shape, 3)), opacity]), interpolation="none")
    if len(columns) <= 24:
        _write_shares(axes, share)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("true", color=MUTED)
    return _svg(figure, name, alt)


def dots_chart(
    rows: Mapping[str, Mapping[str, Any]],
    *,
    name: str,
    alt: str,
    axis: str = "mIoU",
    signed: bool = False,
    roles: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """A dot per seed in each row, over a mark at their mean and a line over an interval.

    Args:
        rows: label -> {"values", "mean", "low", "high"} of a share; None where not known.
        name: unique in the page.
        alt: what it shows.
        axis: what the values are.
        signed: they are differences of shares; they are shown in points, with a line at none.
        roles: label -> student, teacher, detector or instances, what the row scores; a legend tells them
            apart.
    """
    figure, axes = _axes(7.6, 0.7 + 0.42 * len(rows))
    legend: dict[str, Any] = {}
    for row, (label, score) in enumerate(rows.items()):
        values = [value for value in score["values"] if words.known(value)]
        role = roles.get(label, label)
        dots = axes.scatter(
            values,
            [row] * len(values),
            s=52,
            color=ROLE_COLORS.get(role, STUDENT),
            marker="D" if role in ("teacher", "instances") else "o",
            alpha=0.8,
            linewidths=0,
            zorder=4,
        )
        legend.setdefault(role, dots)
        if words.known(score["mean"]):
            ends = [score[end] if words.known(score[end]) else score["mean"] for end in ("low", "high")]
            axes.plot(ends, [row, row], color=INK, linewidth=1, zorder=2)
            mark: dict[str, Any] = {"marker": "|", "markersize": 17, "markeredgewidth": 1.8}
            axes.plot([score["mean"]], [row], color=INK, zorder=3, **mark)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol="" if signed else " %"))
    axes.set_xlabel(axis, color=MUTED)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x", color=GRID, linewidth=0.7)
    if len(set(roles.values())) > 1:
        shown = [role for role in ("student", "teacher", "detector", "instances") if role in legend]
        place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2}
        axes.legend([legend[role] for role in shown], shown, frameon=False, labelcolor=INK, **place)
    if signed:
        axes.axvline(0, color=MUTED, linewidth=1)
    return _svg(figure, name, alt)


def lines_chart(
    lines: Mapping[str, Mapping[float, Mapping[str, Any]]],
    *,
    name: str,
    alt: str,
    axis: str,
    of: str = "mIoU",
) -> str:
    """Means with their intervals over the value of a setting, a line for each kind of arm.

    Args:
        lines: label -> value -> {"mean", "low", "high"} of a share; None where not known.
        name: unique in the page.
        alt: what it shows.
        axis: what the value is.
        of: what the means are of.
    """
    figure, axes = _axes(7.6, 3.6)
    ticks = sorted({value for line in lines.values() for value in line})
    if ticks and ticks[0] > 0 and ticks[-1] >= 8 * ticks[0]:
        axes.set_xscale("log")
    for (label, line), color, marker in zip(lines.items(), cycle(RUNS), cycle(MARKERS), strict=False):
        known = {value: score for value, score in line.items() if words.known(score["mean"])}
        means = [score["mean"] for score in known.values()]
        ends = [[score["low"], score["high"]] for score in known.values()]
        low, high = (
            [end[i] if words.known(end[i]) else mean for end, mean in zip(ends, means, strict=True)]
            for i in (0, 1)
        )
        axes.plot(list(known), means, color=color, marker=marker, markersize=6, linewidth=1.6, label=label)
        axes.fill_between(list(known), low, high, color=color, alpha=0.13, linewidth=0)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    axes.set_xlabel(axis, color=MUTED)
    axes.set_ylabel(of, color=MUTED)
    if lines:
        axes.legend(frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1))
    return _svg(figure, name, alt)


def as_file(svg: str) -> str:
    """A chart as a file of its own, which needs no style sheet.

    Args:
        svg: as the charts of this module are.
    """
    head, tag, rest = svg.partition("<svg")
    spaces = ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"{head}{tag}{spaces}{rest}"


def _axes(width_in: float, height_in: float, *, grid: bool = True) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=9)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(True, axis="y", color=GRID, linewidth=0.7)
    return figure, axes


def _averaged(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of equal blocks, so that at most MAX_POINTS are left."""
    block = -(-len(steps) // MAX_POINTS)
    if block <= 1:
        return steps, values
    starts = np.arange(0, len(steps), block)
    sizes = np.diff([*starts, len(steps)])
    return np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes


def _upper_limit(curves: Sequence[Sequence[float]]) -> float:
    """A limit just above the curves, except for a few outliers of the first steps."""
    values = np.concatenate([np.array(curve, float) for curve in curves])
    values = values[np.isfinite(values)]
    if not values.size or values.max() <= 0:
        return 1.0
    return 1.08 * float(min(values.max(), 2 * np.quantile(values, 0.95)))


def _write_shares(axes: Axes, share: np.ndarray) -> None:
    """Percentages in the cells, those under a half per cent left out."""
    for (row, column), value in np.ndenumerate(share):
        if value >= 0.005:
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=INK)


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an inline <svg> element without outside references, its ids made unique."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    for label in figure.findobj(Text):
        label.set_parse_math(False)  # people name classes and experiments as they like, also with a $
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text[text.index("<svg") :])
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    told = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{told}"', 1)
