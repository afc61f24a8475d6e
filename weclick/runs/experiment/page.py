"""The page of an experiment: one self-contained HTML file, made from its summary alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from weclick.common import words
from weclick.common.files import write_text
from weclick.common.flat import flatten, spell
from weclick.runs.experiment.charts import FOLDER, charts, write_charts
from weclick.runs.report.page import environment

MINUS = "\N{MINUS SIGN}"

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
            settings=settings(summary),
            data_settings=_changed(summary.get("data", {}), summary["config"]),
            config=yaml.safe_dump(summary["config"], sort_keys=False, allow_unicode=True, width=90),
            origin={"command": "", "machine": {}, "revision": "", "training_code": "", **summary["origin"]},
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
    differences = [_difference(row) for row in data["differences"]]
    drawn = {row["label"]: row["miou"] for row in differences if row["miou"]["n"]}
    return {
        "name": name,
        "anchor": anchor,
        "facts": facts_words(data["facts"]),
        "notes": data["notes"],
        "rows": [arm_row(arm, summary["arms"][arm], figures) for arm, figures in data["arms"].items()],
        "charts": charts(name, summary, drawn, anchor),
        "chosen": [_chosen(choice, told) for choice, told in data["chosen"].items()],
        "differences": differences,
    }


def arm_row(name: str, arm: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """The words and numbers of an arm: its scores, every seed's, and its costs."""
    known = {**dict.fromkeys(_FIGURES, _UNKNOWN), **figures}
    return {
        "name": name,
        "description": arm["description"],
        "seeds": known["miou"]["n"],
        "miou": words.percent(known["miou"]["mean"]),
        "interval": interval(known["miou"], words.percent),
        "spread": words.percent(known["miou"]["spread"]),
        "consistency": words.percent(known["temporal_consistency"]["mean"]),
        "consistency_interval": interval(known["temporal_consistency"], words.percent),
        "accuracy": words.percent(known["mean_accuracy"]["mean"]),
        "on_targets": words.percent(known["on_targets"]["mean"]),
        "each": [words.percent(value) for value in known["miou"]["values"]],
        "each_consistency": [words.percent(value) for value in known["temporal_consistency"]["values"]],
        "clicks": _range(known["clicks"], words.count),
        "targets": _range(known["targets"], words.count),
        "steps": _range(known["steps"], words.count),
        "seconds": words.duration(known["train_seconds"]["mean"]),
        "each_seconds": _range(known["train_seconds"], words.duration),
        "teacher_seconds": words.duration(known["teacher_seconds"]["mean"] or None),
        "cache": words.count_bytes(known["cache_bytes"]["mean"]),
    }


_FIGURES = (
    *("miou", "temporal_consistency", "mean_accuracy", "on_targets", "clicks", "targets"),
    *("steps", "train_seconds", "teacher_seconds", "cache_bytes"),
)


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
    return f"{clicks} on {targets} of {learned}; scored on {scored} of {seen}{size}; {classes} classes."


def settings(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each arm what it changes, as (option, its value, the value of the configuration) rows, or words."""
    changes = _changed({name: arm["change"] for name, arm in summary["arms"].items()}, summary["config"])
    return [
        {"name": name, "description": arm["description"], "words": _arm_words(arm), "rows": rows}
        for (name, rows), arm in zip(changes, summary["arms"].values(), strict=True)
    ]


def _arm_words(arm: Mapping[str, Any]) -> str:
    if arm.get("as"):
        return f"The settings of {arm['as']}, for as many steps as fit the wall time of {arm['for_time_of']}."
    scored = "Its teacher is scored." if arm["scores"] == "teacher" else ""
    return scored if arm["change"] else f"Changes nothing. {scored}".strip()


def _changed(
    changes: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]
) -> list[tuple[str, list[tuple[str, str, str]]]]:
    shared = dict(flatten(config))
    return [
        (name, [(key, spell(value), spell(shared.get(key))) for key, value in flatten(change)])
        for name, change in changes.items()
    ]


def _difference(row: Mapping[str, Any]) -> dict[str, Any]:
    miou, consistency = row["miou"], row.get("temporal_consistency", _UNKNOWN)
    of, *against = row["asked"]
    asked = (
        f"{of} {MINUS} {against[0]}" if len(against) == 1 else f"{of} {MINUS} the better of {_or(against)}"
    )
    label = asked if row["of"] is None or row["minus"] is None else f"{row['of']} {MINUS} {row['minus']}"
    return {
        "label": label,
        "asked": "" if label == asked else asked,
        "miou": miou,
        "mean": words.points(miou["mean"]),
        "interval": interval(miou, words.points),
        "told": _told(miou),
        "each": [words.points(value) for value in miou["values"]],
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


def _chosen(choice: str, told: Mapping[str, Any]) -> str:
    means = ", ".join(f"{arm} {words.percent(mean)}" for arm, mean in told["means"].items())
    return f"{choice} is {told['arm'] or 'none'}: mIoU on the target frames is {means}."


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _range(score: Mapping[str, Any], style: Any) -> str:
    """A figure that seeds may share: its value, or the lowest and the highest."""
    known = sorted({value for value in score["values"] if words.known(value)})
    if len(known) < 2:
        return style(known[0] if known else None)
    return f"{style(known[0])} to {style(known[-1])}"
