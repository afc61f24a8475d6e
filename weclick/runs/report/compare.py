"""One page about several runs: how their configurations and their scores differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weclick.common import words
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.common.files import read_json, write_text
from weclick.common.flat import flatten, spell
from weclick.common.sections import Config
from weclick.manifest import Manifest
from weclick.runs.layout import Layout
from weclick.runs.report.compare_gallery import example_rows
from weclick.runs.report.fairness import Fairness
from weclick.runs.report.figures import MAX_RUNS, Curve, curve_chart
from weclick.runs.report.page import environment
from weclick.runs.report.results import ROLES, Results, read_results, require
from weclick.runs.report.sections import curves

SCORES = (
    ("miou", "mIoU, %", words.percent),
    ("mean_accuracy", "Class accuracy, %", words.percent),
    ("pixel_accuracy", "Pixel accuracy, %", words.percent),
    ("click_accuracy", "Held-out clicks hit, %", words.percent),
    ("temporal_consistency", "Temporal consistency, %", words.percent),
    ("parameters", "Parameters", words.short_count),
    ("fps", "Frames per second", words.rate),
)
_PLACES = ("results", "report.", "cache.", "watch.")
"""Prefixes of options that say where a run lies and how it is shown, not what it computes."""


@dataclass(frozen=True)
class Run:
    """A run to compare: its label, its configuration, and the results of its stages."""

    label: str
    config: Config
    results: Results


def write_comparison(out: Path, *, runs: Sequence[str], examples: int = 6) -> list[str]:
    """Write one self-contained page about several runs.

    Args:
        out: HTML file.
        runs: results folders as FOLDER or FOLDER=LABEL. The default label is the folder's name, with the
            name of the folder above before it if several folders have one name.
        examples: the page shows at most this many frames that all runs predicted.

    Returns:
        Reasons against a comparison of the scores, each a sentence; they stand in the page too.

    Raises:
        MissingFileError: a folder is no finished run; the message names the missing file and its stage.
        InputError: fewer than two runs, more than there are colours, or two of one label.
    """
    read = [_read(folder, label) for folder, label in labelled(runs)]
    labels = [run.label for run in read]
    fairness = Fairness({run.label: (run.config, run.results) for run in read})
    page = (
        environment()
        .get_template("compare.html.j2")
        .render(
            labels=labels,
            colors=[f"var(--run-{i})" for i in range(len(read))],
            folders=[str(run.results.folder) for run in read],
            scored_on=fairness.scored_on(),
            scores=[
                _scores(read, role, fairness.unfair)
                for role in ROLES
                if any(run.results.scores(role) for run in read)
            ],
            differences=differences({run.label: run.config for run in read}),
            classes=_classes(read, ranked="miou" not in fairness.unfair),
            charts_made=_charts(read),
            examples=example_rows({run.label: run.results for run in read}, examples),
            warnings=fairness.warnings,
        )
    )
    write_text(Path(out), page)
    return fairness.warnings


def differences(configs: Mapping[str, Config]) -> list[tuple[str, list[str]]]:
    """(option, its value in each run) of every option on which the runs differ.

    Options that say where a run lies, or how it is shown, are left out.
    """
    leaves = [dict(flatten(config)) for config in configs.values()]
    names = dict.fromkeys(name for leaf in leaves for name in leaf if not name.startswith(_PLACES))
    table = [(name, [spell(leaf[name]) if name in leaf else words.DASH for leaf in leaves]) for name in names]
    return [(name, values) for name, values in table if len(set(values)) > 1]


def labelled(runs: Sequence[str], what: str = "runs") -> list[tuple[Path, str]]:
    """Path and label of what is compared, given as PATH or PATH=LABEL.

    Raises:
        InputError: fewer than two, more than there are colours, or two of one label.
    """
    if not 2 <= len(runs) <= MAX_RUNS:
        raise InputError(f"{len(runs)} {what} are given, expected 2 to {MAX_RUNS} results folders")
    split = [(Path(run.partition("=")[0]), run.partition("=")[2]) for run in runs]
    names = [label or folder.resolve().name for folder, label in split]
    labels = [
        label or (name if names.count(name) == 1 else f"{folder.resolve().parent.name}/{name}")
        for (folder, label), name in zip(split, names, strict=True)
    ]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(f"two {what} have the label {', '.join(twice)}; give labels: FOLDER=LABEL")
    return [(folder, label) for (folder, _), label in zip(split, labels, strict=True)]


def _read(folder: Path, label: str) -> Run:
    card = require(Layout(folder).report_card, "report")
    config = complete_config(read_json(card, "report", card.name)["config"], source=str(card))
    results = read_results(folder, config)
    return Run(label, config, replace(results, val=_found(results.val, folder)))


def _found(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest. If its relative root is not found from here, it is taken as one beside the results."""
    root = Path(manifest.root)
    if root.is_absolute() or root.exists():
        return manifest
    return replace(manifest, root=str(folder.resolve().parent / root))


def _scores(runs: Sequence[Run], role: str, unfair: Collection[str]) -> dict[str, Any]:
    """One table: a row per score, a cell per run, the best marked in each row that can be compared."""
    found = [run.results.scores(role) for run in runs]
    rows = []
    for key, title, style in SCORES:
        values = [scores.get(key) for scores in found]
        if key == "click_accuracy" and not any(map(words.known, values)):
            continue
        best = None if key == "parameters" or key in unfair else _best(values)
        rows.append((title, [(style(value), best is not None and value == best) for value in values]))
    steps = [run.results.models.get(role, {}) for run in runs]
    rows.append(("Training steps", [(words.count(card.get("steps")), False) for card in steps]))
    rows.append(("Training time", [(words.duration(card.get("train_seconds")), False) for card in steps]))
    return {"role": role, "rows": rows}


def _classes(runs: Sequence[Run], *, ranked: bool) -> list[dict[str, Any]]:
    """IoU of every class that any run's student knows; the best of each is marked if they are ranked."""
    found = [run.results.scores("student").get("per_class_iou", {}) for run in runs]
    colors = {
        name: f"rgb({' '.join(map(str, color))})"
        for run in runs
        for name, color in zip(run.results.val.classes.names, run.results.val.classes.palette, strict=True)
    }
    rows = []
    for name, color in colors.items():
        values = [iou.get(name) for iou in found]
        best = _best(values) if ranked else None
        cells = [
            (words.percent(value), best is not None and value == best, words.known(value)) for value in values
        ]
        rows.append({"name": name, "color": color, "cells": cells})
    return rows


def _charts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Validation mIoU and loss of student and teacher, a line for each run."""
    charts = []
    for role in ROLES:
        for keys, title, percent in (
            (("validation", "miou"), "mIoU in validation", True),
            (("loss",), "Loss", False),
        ):
            lines: dict[str, Curve] = {}
            for index, run in enumerate(runs):
                curve = curves(run.results, *keys).get(role)
                if curve:
                    lines[f"run-{index}"] = curve
            if lines:
                whole = f"{title}, {role}"
                name = f"{role}-{keys[0]}"
                charts.append(
                    (whole, curve_chart(lines, name=name, alt=f"{whole}, of every run", percent=percent))
                )
    return charts


def _best(values: Sequence[float | None]) -> float | None:
    """The highest value; None if fewer than two are known, or all are equal."""
    known = [value for value in values if value is not None and words.known(value)]
    return max(known) if len(known) > 1 and len(set(known)) > 1 else None
