"""The columns of tables of arms: what each figure is called, and how its values are written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weclick.common import words

MINUS = "\N{MINUS SIGN}"

UNKNOWN = {"values": [], "n": 0, "mean": None, "spread": None, "low": None, "high": None}
"""The `estimate` of a figure that a summary does not have."""


@dataclass(frozen=True)
class Column:
    """A figure beside the score of an arm.

    Attributes:
        figure: its name in a summary.
        title: above its column.
        each: what the table of every seed's value is called; empty if there is none.
        interval: whether the page has room for its interval.
        style: writes a value.
    """

    figure: str
    title: str
    each: str = ""
    interval: bool = False
    style: Callable[[float | None], str] = words.percent


COLUMNS = (
    Column("on_targets", "On targets", "mIoU on the target frames, by which an arm is chosen", interval=True),
    Column(
        "on_clicks",
        "Clicks hit",
        "Share of the target frames' clicks that are hit, by which an arm is chosen",
    ),
    Column("mean_accuracy", "Class accuracy"),
    Column("ap", "AP"),
    Column("semantic_miou", "mIoU"),
    Column(
        "label_ap50",
        "Labels' AP50",
        "AP50 of the pseudo-labels on training frames, by which an arm is chosen",
        interval=True,
    ),
    Column("label_recall50", "Labels' recall"),
    Column("labels_given", "Labels a frame", style=words.rate),
    Column("labels_used", "Completed", style=words.rate),
    Column("temporal_consistency", "Temporal cons.", "Temporal consistency", interval=True),
)


def shown(known: Collection[str]) -> list[Column]:
    """The columns of figures that are known."""
    return [column for column in COLUMNS if column.figure in known]


def each_seed(known: Collection[str]) -> list[Column]:
    """Those of which every seed's value is shown. Where mIoU chooses, the share of clicks does not."""
    return [
        column
        for column in shown(known)
        if column.each and not (column.figure == "on_clicks" and "on_targets" in known)
    ]


def heads(columns: Sequence[Column], *, intervals: bool = True) -> list[str]:
    """The titles of some columns, and of their intervals."""
    return [
        title
        for column in columns
        for title in (column.title, *["95 % interval"] * (intervals and column.interval))
    ]


def cells(figures: Mapping[str, Any], columns: Sequence[Column], *, intervals: bool = True) -> list[str]:
    """The means of an arm, and their intervals."""
    return list(_cells(figures, columns, intervals))


def _cells(figures: Mapping[str, Any], columns: Sequence[Column], intervals: bool) -> Iterator[str]:
    for column in columns:
        score = known_of(figures, column.figure)
        yield column.style(score["mean"])
        if intervals and column.interval:
            yield interval(score, column.style)


def known_of(figures: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The `estimate` of a figure of an arm; one without values if the summary has none."""
    return figures.get(name, UNKNOWN)


def interval(score: Mapping[str, Any], style: Any) -> str:
    """A 95 % interval: 55.1 to 63.4; a dash if it is not known."""
    if not (words.known(score["low"]) and words.known(score["high"])):
        return words.DASH
    return f"{style(score['low'])} to {style(score['high'])}".replace("-", MINUS)
