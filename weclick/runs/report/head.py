"""The head of the page: title, one sentence, and the scores in large figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.common import words
from weclick.common.load import busy_words
from weclick.evaluate.scored import classes_words, one_class_words, teacher_findings
from weclick.runs.report import detections, held_out
from weclick.runs.report.results import Results
from weclick.runs.report.sections import scored_frames


def head(results: Results) -> dict[str, Any]:
    """Title, one sentence, and the scores in large figures."""
    scores = results.scores(results.role)
    return {
        "title": Path(results.val.root).name if results.val.dataset == "folder" else results.val.dataset,
        "scored": words.plural(scores.get("frames", scored_frames(results.val)), "frame"),
        "split": results.val.split,
        "image_size": words.size(scores.get("image_size", ())),
        "cards": _of_detector(results) if results.role == "detector" else _cards(results),
        "limits": classes_words(scores),
        "warnings": [
            f"The {finding.what} {finding.found}: {finding.todo}."
            for finding in teacher_findings(results.evaluation)
        ],
    }


def card(label: str, value: str, unit: str, note: str) -> dict[str, str]:
    """A large figure; one that is not known has no unit."""
    return {"label": label, "value": value, "unit": "" if value == words.DASH else unit, "note": note}


def size_and_speed(scores: Mapping[str, Any], note: str = "") -> list[dict[str, str]]:
    """Two large figures: parameters, with a note, and frames per second."""
    size, _, unit = words.short_count(scores.get("parameters")).partition(" ")
    where = ", ".join(filter(None, [scores.get("device", ""), busy_words(scores.get("speed"))]))
    return [
        card("Parameters", size, unit, note),
        card("Frames per second", words.rate(scores.get("fps")), "", where),
    ]


def _of_detector(results: Results) -> list[dict[str, str]]:
    found = detections.figures(results)
    cards = [card(title, words.percent(value), "%", "") for title, value in found.items()]
    return cards + size_and_speed(results.scores("detector"))


def _cards(results: Results) -> list[dict[str, str]]:
    student, teacher = results.scores("student"), results.scores("teacher")
    shares = (
        ("mean_accuracy", "Mean class accuracy"),
        ("pixel_accuracy", "Pixel accuracy"),
        ("temporal_consistency", "Temporal consistency"),
    )
    by_clicks = not words.known(student.get("miou")) and "held_out_clicks" in student
    cards = [] if by_clicks else _miou_cards(student, teacher)
    cards += held_out.cards(student, teacher)
    for key, label in shares[2:] if by_clicks else shares:
        why_none = one_class_words(student) if key == "temporal_consistency" else ""
        note = why_none or _beside(teacher, key, words.percent)
        cards.append(card(label, words.percent(student.get(key)), "%", note))
    return cards + size_and_speed(student, _beside(teacher, "parameters", words.short_count))


def _miou_cards(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> list[dict[str, str]]:
    scored = {"Student mIoU": student} | ({"Teacher mIoU": teacher} if teacher else {})
    return [
        card(label, words.percent(scores.get("miou")), "%", _after_crf_note(scores))
        for label, scores in scored.items()
    ]


def _after_crf_note(scores: Mapping[str, Any]) -> str:
    return f"after a dense CRF {words.percent(scores['crf']['miou'])}" if "crf" in scores else ""


def _beside(teacher: Mapping[str, Any], key: str, style: Any) -> str:
    return f"teacher {style(teacher.get(key))}" if teacher else ""
