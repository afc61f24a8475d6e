"""What is known of a trial, by what it scores: a network that labels pixels, or one that finds objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weclick.common.sections import Scored


@dataclass(frozen=True)
class Kind:
    """The figures of some trials, by their names in a summary.

    Attributes:
        scores: arms are compared by the first of these that is known.
        compared: those of which differences are told.
        choosing: those that may choose an arm, the best first. None of them looks at scored frames.
        figures: all of them: scores, those of training frames, what a trial learned from, what it cost.
        before: the figure that tells the seconds of the trainings before that of the scored network.
    """

    scores: tuple[str, ...]
    compared: tuple[str, ...]
    choosing: tuple[str, ...]
    figures: tuple[str, ...]
    before: str


_LEARNED_FROM = ("targets", "clicks", "annotation_seconds")
_COSTS = ("train_seconds", "steps")

SEGMENTS = Kind(
    scores=("miou", "click_accuracy"),
    compared=("miou", "temporal_consistency", "click_accuracy"),
    choosing=("on_targets", "on_clicks"),
    figures=(
        *("miou", "mean_accuracy", "pixel_accuracy", "temporal_consistency", "click_accuracy"),
        *("on_targets", "on_clicks", *_LEARNED_FROM, *_COSTS, "teacher_seconds", "cache_bytes"),
    ),
    before="teacher_seconds",
)
"""Without masks there is no mIoU, and the share of held-out clicks hit takes its place."""

FINDS = Kind(
    scores=("ap50",),
    compared=("ap50", "temporal_consistency", "ap"),
    choosing=("label_ap50",),
    figures=(
        *("ap50", "ap", "semantic_miou", "temporal_consistency", "label_ap50", "label_recall50"),
        *("labels_given", "labels_used", *_LEARNED_FROM, *_COSTS, "label_seconds", "cache_bytes"),
    ),
    before="label_seconds",
)
"""`ap50` is that of what is scored: of a detector, on scored frames; of pseudo-labels, on training frames."""

KINDS: dict[Scored, Kind] = {"student": SEGMENTS, "teacher": SEGMENTS, "detector": FINDS, "instances": FINDS}
"""What an arm may score -> the figures of its trials."""

Table = Mapping[str, Mapping[str, Any]]
"""Arm -> figure -> its `estimate` over the seeds."""


def kind_of(table: Table) -> Kind:
    """The kind of the arms of a table; all are of one."""
    return FINDS if any(FINDS.scores[0] in figures for figures in table.values()) else SEGMENTS


def main_score(table: Table) -> str:
    """The score that the arms of a table are compared by: the first of its kind that is known of any arm."""
    known, scores = known_figures(table), kind_of(table).scores
    return next((score for score in scores if score in known), scores[0])


def known_figures(table: Table) -> set[str]:
    """The figures that are known of any arm of a table."""
    return {name for figures in table.values() for name, score in figures.items() if score["n"]}
