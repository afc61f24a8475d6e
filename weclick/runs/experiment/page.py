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
from weclick.runs.experiment.costs import cost_warnings, total_words
from weclick.runs.experiment.origin import repeat_lines
from weclick.runs.experiment.settings import data_settings, matrix, shown_config
from weclick.runs.experiment.summary import FIGURES, main_score
from weclick.runs.report.page import environment

MINUS = "\N{MINUS SIGN}"

NAMES = {"miou": "mIoU", "click_accuracy": "Held-out clicks hit"}
"""What a table calls the score that arms are compared by."""

CLICKS_BY = {
    "masks": "made from masks, as if by people who never err",
    "people": "people's own",
    "both": "people's own, and made from masks on frames where nobody clicked",
}
"""What the facts say of `clicks_by`."""

_UNKNOWN = {"values": [], "n": 0, "mean": None, "spread": None, "low": None, "high": None}


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
    score = main_score(data["arms"])
    differences = [_difference(row, score) for row in data["differences"]]
    drawn = {row["label"]: row["score"] for row in differences if row["score"]["n"]}
    return {
        "name": name,
        "anchor": anchor,
        "score": NAMES[score],
        "facts": facts_words(data["facts"]),
        "notes": data["notes"],
        "cost_warnings": list(cost_warnings(data["arms"])),
        "total": total_words(data["facts"], summary["origin"]),
        "rows": [arm_row(arm, summary["arms"][arm], figures, score) for arm, figures in data["arms"].items()],
        "charts": charts(name, summary, drawn, anchor, score),
        "chosen": [
            choice_words(choice, {**choose(data["arms"], list(told["means"])), **told})
            for choice, told in data["chosen"].items()
        ],
        "known": {
            figure for figure in FIGURES if any(known_of(arm, figure)["n"] for arm in data["arms"].values())
        },
        "differences": differences,
    }


def arm_row(
    name: str, arm: Mapping[str, Any], figures: Mapping[str, Any], score: str = "miou"
) -> dict[str, Any]:
    """The words and numbers of an arm: its scores, every seed's, and its costs.

    Args:
        name: of the arm.
        arm: what it is.
        figures: figure -> its `estimate`.
        score: the one that arms are compared by, see `main_score`.
    """
    known = {figure: known_of(figures, figure) for figure in FIGURES}
    main = known[score]
    return {
        "name": name,
        "description": arm["description"],
        "seeds": main["n"],
        "score": words.percent(main["mean"]),
        "interval": interval(main, words.percent),
        "spread": words.percent(main["spread"]),
        "consistency": words.percent(known["temporal_consistency"]["mean"]),
        "consistency_interval": interval(known["temporal_consistency"], words.percent),
        "accuracy": words.percent(known["mean_accuracy"]["mean"]),
        "on_targets": words.percent(known["on_targets"]["mean"]),
        "on_targets_interval": interval(known["on_targets"], words.percent),
        "on_clicks": words.percent(known["on_clicks"]["mean"]),
        "on_clicks_interval": interval(known["on_clicks"], words.percent),
        "each": [words.percent(value) for value in main["values"]],
        "each_on_targets": [words.percent(value) for value in known["on_targets"]["values"]],
        "each_on_clicks": [words.percent(value) for value in known["on_clicks"]["values"]],
        "each_consistency": [words.percent(value) for value in known["temporal_consistency"]["values"]],
        "clicks": _range(known["clicks"], words.count),
        "people": _range(known["annotation_seconds"], words.duration),
        "targets": _range(known["targets"], words.count),
        "steps": _range(known["steps"], words.count),
        "seconds": words.duration(known["train_seconds"]["mean"]),
        "each_seconds": _range(known["train_seconds"], words.duration),
        "teacher_seconds": words.duration(known["teacher_seconds"]["mean"] or None),
        "cache": words.count_bytes(known["cache_bytes"]["mean"]),
    }


def known_of(figures: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The `estimate` of a figure of an arm; one without values if the summary has none."""
    return figures.get(name, _UNKNOWN)


def interval(score: Mapping[str, Any], style: Any) -> str:
    """A 95 % interval: 55.1 to 63.4; a dash if it is not known."""
    if not (words.known(score["low"]) and words.known(score["high"])):
        return words.DASH
    return f"{style(score['low'])} to {style(score['high'])}".replace("-", MINUS)


def facts_words(facts: Mapping[str, Any]) -> str:
    """What arms learned from and were scored on, in a sentence."""
    train, val = facts["train"], facts["val"]
    sizes = {words.size(size) for part in (train, val) for size in part.get("sizes_px", [])}
    size = f" at {' and '.join(sorted(sizes))} px" if 0 < len(sizes) < 4 else ""
    clicks = words.plural(facts.get("clicks", 0), "click")
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
    main, consistency = row[score], row.get("temporal_consistency", _UNKNOWN)
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
