"""The parts of the page on what a detector finds: its scores, and the examples that the evaluation kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weclick.common import words
from weclick.common.spread import spread_over
from weclick.evaluate.instances.figures import SURE_SCORE
from weclick.manifest.images import read_image
from weclick.runs.report.gallery import MAX_EXAMPLES, Captioned, example_frame, frames_of
from weclick.runs.report.instance_pictures import draw_instances
from weclick.runs.report.instances import truth_of
from weclick.runs.report.pictures import fit, picture
from weclick.runs.report.results import Results, require

CARDS = {
    "AP50": "AP50",
    "AP": "AP",
    "semantic_miou": "Semantic IoU",
    "temporal_consistency": "Temporal consistency",
}
"""Key in metrics.json under "instances", and the title of its figure at the head of the page."""

FIGURES = {
    "AP": "AP, mean over IoU .5 to .95 (COCO)",
    "AP50": "AP at IoU .5",
    "AP75": "AP at IoU .75",
    "AR1": "Recall of the surest instance of each frame",
    "AR10": "Recall of the ten surest",
    "AR100": "Recall of the hundred surest",
    "semantic_miou": "Semantic IoU: pixels take the class of the surest instance there",
    "temporal_consistency": "Temporal consistency: AP50 beside the frame before, warped",
}
"""Figures of metrics.json under "instances", as the table of scores names them."""

PARTS = {"cityscapes": "Cityscapes' own", "video": "of tracks over a whole clip"}
"""Parts of "instances" with figures of their own, and whose AP they hold."""

TRACKED = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AR1": "recall of one track",
    "AR10": "recall of ten tracks",
}


def figures(results: Results) -> dict[str, float]:
    """Title -> large figure at the head of the page, those that are known; shares."""
    found = results.scores("detector").get("instances", {})
    return {title: found[key] for key, title in CARDS.items() if words.known(found.get(key))}


def section(results: Results) -> dict[str, Any] | None:
    """Scores of the detector as tables; None if the run trains none.

    Returns:
        rows: figures that are known, classes: AP and IoU of each class, examples: see `examples`, why_none: a
        sentence if no instance is scored.
    """
    if results.role != "detector":
        return None
    found = results.scores("detector").get("instances", {})
    rows = [
        (title, words.percent(found[key])) for key, title in FIGURES.items() if words.known(found.get(key))
    ]
    for part, whose in PARTS.items():
        told = found.get(part) or {}
        rows += [
            (f"{title[0].upper()}{title[1:]}, {whose}", words.percent(told[key]))
            for key, title in TRACKED.items()
            if words.known(told.get(key))
        ]
    return {
        "rows": rows,
        "counts": _counts(found),
        "untracked": (found.get("video") or {}).get("left_out", ""),
        **_classes(results, found),
        "examples": examples(results),
    }


def _counts(found: Mapping[str, Any]) -> str:
    """How many instances are found in a frame, as a sentence; empty if it is not known."""
    every, sure, true = (found.get(f"{kind}_a_frame") for kind in ("instances", "sure", "truth"))
    if not words.known(every):
        return ""
    surely = f", {sure:.2f} of them with a score of {SURE_SCORE:g} or more" if words.known(sure) else ""
    there = f"; {true:.2f} are there" if words.known(true) else ""
    return f"The detector finds {every:.2f} instances a frame{surely}{there}."


def _classes(results: Results, found: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of the classes that have any; a column without any is left out."""
    own = found.get("per_class") or {}
    streets = (found.get("cityscapes") or {}).get("per_class") or {}
    iou = found.get("per_class_iou") or {}
    columns = {
        "AP": {name: scores.get("AP") for name, scores in own.items()},
        "AP50": {name: scores.get("AP50") for name, scores in own.items()},
        "Cityscapes' AP": {name: scores.get("AP") for name, scores in streets.items()},
        "Semantic IoU": iou,
    }
    columns = {title: told for title, told in columns.items() if any(map(words.known, told.values()))}
    known = zip(results.val.classes.names, results.val.classes.palette, strict=True)
    return {
        "columns": list(columns),
        "classes": [
            {
                "name": name,
                "color": f"rgb({' '.join(map(str, color))})",
                "share": columns["AP50"].get(name) if "AP50" in columns else None,
                "cells": [words.percent(told.get(name)) for told in columns.values()],
            }
            for name, color in known
            if any(words.known(told.get(name)) for told in columns.values())
        ],
    }


def examples(results: Results) -> dict[str, Any]:
    """Frame, true instances, and what the detector finds, for the examples that the evaluation kept."""
    kept = [example for example in results.evaluation.get("examples", []) if "detector" in example]
    rows = [_row(results, example) for example in spread_over(kept, MAX_EXAMPLES)]
    return {
        "rows": rows,
        "left_out": len(kept) - len(rows),
        "has_truth": any(len(row) > 2 for row in rows),
    }


def _row(results: Results, example: Mapping[str, str]) -> list[Captioned]:
    clip, t = example_frame(results, example["clip"], example["frame"])
    where, name = f"{clip.id}, frame {clip.frames[t].name}", clip.frames[t].name
    image = frames_of(results.val, clip, t)[t]
    row = [(picture(fit(image), where), f"{clip.id} · {name}")]
    if (truth := truth_of(results.val, clip, t)) is not None:
        drawn = draw_instances(image, truth, results.val.classes.names, scored=False)
        row.append((picture(drawn, f"True instances of {where}"), "truth"))
    path = require(results.layout.of("evaluate") / example["detector"], "evaluate")
    row.append((picture(fit(read_image(path)), f"Instances that the detector finds in {where}"), "detector"))
    return row
