"""The page of an experiment: one self-contained HTML file, made from its summary alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from weclick.common import words
from weclick.common.files import write_text
from weclick.runs.experiment.charts import FOLDER, charts, write_charts
from weclick.runs.experiment.choice import choice_words, choose
from weclick.runs.experiment.columns import (
    MINUS,
    UNKNOWN,
    Column,
    cells,
    each_seed,
    heads,
    interval,
    known_of,
    shown,
)
from weclick.runs.experiment.costs import cost_warnings, total_words
from weclick.runs.experiment.kinds import SEGMENTS, kind_of, known_figures, main_score
from weclick.runs.experiment.origin import repeat_lines
from weclick.runs.experiment.settings import data_settings, matrix, shown_config
from weclick.runs.report.page import environment

NAMES = {"miou": "mIoU", "click_accuracy": "Held-out clicks hit", "ap50": "AP50"}
"""What a table calls the score that arms are compared by."""

CLICKS_BY = {
    "masks": "made from masks, as if by people who never err",
    "people": "people's own",
    "both": "people's own, and made from masks on frames where nobody clicked",
}
"""What the facts say of `clicks_by`."""

BEFORE = {"teacher_seconds": "Its teachers", "label_seconds": "Its labels"}
"""What a table calls the trainings before that of the scored network."""

OTHERS = {"teacher_seconds": "teachers", "label_seconds": "those that labels take"}
"""What a sentence calls them."""


def write_page(out: Path, summary: Mapping[str, Any]) -> None:
    """Write the page of an experiment, and its charts as files beside it.

    Args:
        out: HTML file.
        summary: as data_schema/experiment.schema.json describes it.
    """
    sections = [
        data_section(name, summary, f"data-{position}") for position, name in enumerate(summary["results"])
    ]
    page = (
        environment()
        .get_template("experiment.html.j2")
        .render(
            name=summary["name"],
            question=summary.get("question", ""),
            protocol=summary.get("protocol", ""),
            seeds=summary["seeds"],
            over=summary.get("over"),
            effect=words.points(summary.get("wanted_effect")).lstrip("+"),
            results=sections,
            settings=matrix(summary),
            data_settings=data_settings(summary),
            config=yaml.safe_dump(shown_config(summary), sort_keys=False, allow_unicode=True, width=90),
            origin={"command": "", "machine": {}, "revision": "", "training_code": "", **summary["origin"]},
            repeat=repeat_lines(summary["origin"]),
            table=count(1).__next__,
        )
    )
    write_text(out, page)
    write_charts(out.parent / FOLDER, {data["name"]: data["charts"] for data in sections})


def data_section(name: str, summary: Mapping[str, Any], anchor: str) -> dict[str, Any]:
    """What the page shows of one data set.

    Args:
        name: of the data set.
        summary: of the experiment.
        anchor: unique in the page.
    """
    data = summary["results"][name]
    score, known = main_score(data["arms"]), known_figures(data["arms"])
    columns, before = shown(known), kind_of(data["arms"]).before
    differences = [_difference(row, score) for row in data["differences"]]
    drawn = {row["label"]: row["score"] for row in differences if row["score"]["n"]}
    return {
        "name": name,
        "anchor": anchor,
        "score": NAMES[score],
        "facts": facts_words(data["facts"]),
        "notes": data["notes"],
        "cost_warnings": list(cost_warnings(data["arms"])),
        "total": total_words(data["facts"], summary["origin"], OTHERS[before]),
        "columns": heads(columns),
        "rows": [
            arm_row(arm, summary["arms"][arm], figures, score, columns)
            for arm, figures in data["arms"].items()
        ],
        "each_seed": [(NAMES[score], score), *((column.each, column.figure) for column in each_seed(known))],
        "before": BEFORE[before],
        "segments": kind_of(data["arms"]) is SEGMENTS,
        "charts": charts(name, summary, drawn, anchor, score),
        "chosen": [
            choice_words(choice, {**choose(data["arms"], list(told["means"])), **told})
            for choice, told in data["chosen"].items()
        ],
        "known": known,
        "differences": differences,
    }


def arm_row(
    name: str,
    arm: Mapping[str, Any],
    figures: Mapping[str, Any],
    score: str,
    columns: Sequence[Column],
    *,
    intervals: bool = True,
) -> dict[str, Any]:
    """The words and numbers of an arm: its scores, every seed's, and its costs.

    Args:
        name: of the arm.
        arm: what it is.
        figures: figure -> its `estimate`.
        score: the one that arms are compared by, see `main_score`.
        columns: of the figures beside it.
        intervals: whether these have intervals, too.
    """
    main, before = known_of(figures, score), known_of(figures, kind_of({name: figures}).before)
    return {
        "name": name,
        "description": arm["description"],
        "seeds": main["n"],
        "score": words.percent(main["mean"]),
        "interval": interval(main, words.percent),
        "spread": words.percent(main["spread"]),
        "cells": cells(figures, columns, intervals=intervals),
        "each": {
            figure: [words.percent(value) for value in known_of(figures, figure)["values"]]
            for figure in (score, *(column.figure for column in columns if column.each))
        },
        "clicks": _range(known_of(figures, "clicks"), words.count),
        "people": _range(known_of(figures, "annotation_seconds"), words.duration),
        "targets": _range(known_of(figures, "targets"), words.count),
        "steps": _range(known_of(figures, "steps"), words.count),
        "seconds": words.duration(known_of(figures, "train_seconds")["mean"]),
        "each_seconds": _range(known_of(figures, "train_seconds"), words.duration),
        "before_seconds": words.duration(before["mean"] or None),
        "cache": words.count_bytes(known_of(figures, "cache_bytes")["mean"]),
    }


def facts_words(facts: Mapping[str, Any]) -> str:
    """What arms learned from and were scored on, in a sentence."""
    train, val = facts["train"], facts["val"]
    sizes = {words.size(size) for part in (train, val) for size in part.get("sizes_px", [])}
    size = f" at {' and '.join(sorted(sizes))} px" if 0 < len(sizes) < 4 else ""
    clicks = words.plural(facts["clicks"], "click") if facts.get("clicks") else "No click"
    targets, scored = words.plural(train["targets"], "target frame"), words.plural(val["scored"], "frame")
    learned, seen = (f"{words.plural(part['clips'], 'clip')} ({part['name']})" for part in (train, val))
    classes = len(facts["classes"])
    told = f"{clicks} on {targets} of {learned}; scored on {scored} of {seen}{size}; {classes} classes."
    return " ".join([told, *_clicks_words(facts)])


def _clicks_words(facts: Mapping[str, Any]) -> Iterator[str]:
    """Who made the clicks, and the minutes that people take for them; nothing of what is not known."""
    if by := CLICKS_BY.get(facts.get("clicks_by", "")):
        yield f"The clicks are {by}."
    seconds, times = facts.get("annotation_seconds"), facts.get("annotation", {})
    if words.known(seconds) and times:
        minutes = float(seconds or 0) / 60
        yield (
            f"People take {minutes:.1f} minutes for all of them, at {times['click_first_s']:g} s for "
            f"the first click of a class on a frame, {times['click_next_s']:g} s for each further one, and "
            f"{times['frame_s']:g} s for looking at a frame (section annotation)."
        )


def _difference(row: Mapping[str, Any], score: str) -> dict[str, Any]:
    main, consistency = row[score], row.get("temporal_consistency", UNKNOWN)
    of, *against = row["asked"]
    asked = (
        f"{of} {MINUS} {against[0]}" if len(against) == 1 else f"{of} {MINUS} the better of {_or(against)}"
    )
    label = asked if row["of"] is None or row["minus"] is None else f"{row['of']} {MINUS} {row['minus']}"
    return {
        "label": label,
        "asked": "" if label == asked else asked,
        "score": main,
        "mean": words.points(main["mean"]),
        "interval": interval(main, words.points),
        "told": _told(main),
        "told_consistency": _told(consistency),
        "each": [words.points(value) for value in main["values"]],
        "each_consistency": [words.points(value) for value in consistency["values"]],
        "consistency": words.points(consistency["mean"]),
        "consistency_interval": interval(consistency, words.points),
        "needed": words.count(row.get("seeds_needed")),
    }


def _told(score: Mapping[str, Any]) -> str:
    """What an interval of differences says."""
    if not (words.known(score["low"]) and words.known(score["high"])):
        return "too few seeds"
    if score["low"] > 0:
        return "gains"
    return "loses" if score["high"] < 0 else "not told from noise"


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _range(score: Mapping[str, Any], style: Any) -> str:
    """A figure that seeds may share: its value, or the lowest and the highest."""
    known = sorted({value for value in score["values"] if words.known(value)})
    if len(known) < 2:
        return style(known[0] if known else None)
    return f"{style(known[0])} to {style(known[-1])}"
