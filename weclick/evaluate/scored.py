"""What scores are made of: whether any pixel counts, which classes occur, and when a figure says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from weclick.common import words
from weclick.common.errors import InputError
from weclick.common.findings import Finding
from weclick.common.load import busy_words
from weclick.manifest import IGNORE, Clip, Manifest
from weclick.manifest.read import read_label
from weclick.metrics import ConfusionMatrix

LARGER_TEACHER = "take a larger teacher, or train it longer"
"""What to do about a teacher that knows no more than its student."""


def check_scored_pixels(manifest: Manifest) -> None:
    """Check that at least one pixel of a split can be scored. It reads labels until it finds one.

    Raises:
        InputError: no frame is scored, or all are by labels of which every pixel is ignored.
    """
    scored = [frame for clip in manifest.clips for frame in (clip.frames[t] for t in clip.scored)]
    if not scored:
        raise InputError(
            f"split {manifest.split!r} of {manifest.root} has no labelled or clicked frame, so there is "
            "nothing to score; add labels or clicks, or name another split in data.val; `weclick predict` "
            "needs none"
        )
    if any(frame.label is None for frame in scored):  # people clicked in it
        return
    if not any((read_label(manifest, frame) != IGNORE).any() for frame in scored):
        raise InputError(
            f"{manifest.path(scored[0].label or '')}: not one pixel of the {len(scored)} scored labels of "
            f"split {manifest.split!r} has a class: all are {IGNORE} (ignored) or values without a class, so "
            "there is nothing to score; correct the labels or the list of classes, or name another split in "
            "data.val; `weclick predict` needs no labels"
        )


def labelled_part(manifest: Manifest) -> Manifest:
    """The split with only those scored frames that have a label."""

    def labelled(clip: Clip) -> Clip:
        return replace(clip, scored=tuple(t for t in clip.scored if clip.frames[t].label))

    return replace(manifest, clips=tuple(map(labelled, manifest.clips)))


def scored_classes(matrix: ConfusionMatrix, clicks: np.ndarray, manifest: Manifest) -> dict[str, Any]:
    """How many of the classes occur in the labels, and the names of those that do not.

    Without a label, what counts is `clicks` (K,): the number of held-out clicks of each class.
    """
    labelled = [bool(row.any()) for row in matrix.matrix]
    there = labelled if any(labelled) else (clicks > 0).tolist()
    return {
        "classes": manifest.num_classes,
        "classes_scored": sum(there),
        "classes_absent": [
            name for name, known in zip(manifest.classes.names, there, strict=True) if not known
        ],
    }


def consistency_figures(matrix: ConfusionMatrix, manifest: Manifest, *, varied: bool) -> dict[str, Any]:
    """Temporal consistency, or why there is none: one class everywhere agrees with itself and says nothing.

    Args:
        matrix: of the predictions against their warped neighbours.
        manifest: gives the names of the classes.
        varied: whether any prediction holds more than one class.

    Returns:
        temporal_consistency: mIoU; None without flow, or if all pixels compared agree and are of one class,
        in all or in each frame. consistency_of_one_class: the name of that class (of several: with slashes).
    """
    square = matrix.matrix[:, : manifest.num_classes]
    seen = np.flatnonzero(square.sum(0) + square.sum(1))
    agree = matrix.matrix.sum() == square.trace()
    alone = len(seen) == 1 or (len(seen) > 1 and agree and not varied)
    return {
        "temporal_consistency": None if alone or not len(seen) else float(matrix.miou()),
        "consistency_of_one_class": " / ".join(manifest.classes.names[i] for i in seen) if alone else None,
    }


def told(role: str, figures: Mapping[str, Any]) -> str:
    """A network's scores in one line for the terminal, with what limits them."""
    consistency = figures["temporal_consistency"]
    limits = classes_words(figures)
    parts = [f"{role}: {_score_words(figures)}" + (f" over {limits}" if limits else "")]
    if refined := crf_words(figures):
        parts.append(f"after a dense CRF {refined}")
    if consistency is not None:
        parts.append(f"temporal consistency {words.percent(consistency)} %")
    if one_class := one_class_words(figures):
        parts.append(f"no temporal consistency: {one_class}")
    parts += [f"{what} {words.percent(score)} %" for what, score in target_scores(figures).items()]
    speed = f"{words.rate(figures['fps'])} frames/s on {figures['device']}"
    return ", ".join([*parts, " ".join(filter(None, [speed, busy_words(figures.get("speed"))]))])


def target_scores(figures: Mapping[str, Any]) -> dict[str, float]:
    """What is known of a network on the frames that it learned from: name -> share."""
    named = (
        ("mIoU on target frames", figures.get("on_targets", {}).get("miou")),
        ("clicks hit", figures.get("on_clicks", {}).get("accuracy")),
    )
    return {what: score for what, score in named if words.known(score)}


def teacher_findings(evaluation: Mapping[str, Any]) -> list[Finding]:
    """A warning if the teacher is no better than the student on target frames. Masks say more than clicks.

    Args:
        evaluation: metrics.json of an evaluation.

    Returns:
        The warning; empty if the teacher is better or at 100 %, or if it is not known.
    """
    student, teacher = target_scores(evaluation), target_scores(evaluation.get("teacher", {}))
    what = next((what for what in student if what in teacher), "")
    if not what or teacher[what] > student[what] or teacher[what] == 1:  # 100 % tells no two networks apart
        return []
    found = (
        f"is no better than the student on the frames that both learned from ({what}: "
        f"{words.percent(teacher[what])} % and {words.percent(student[what])} %), so distillation has "
        "nothing more to give"
    )
    return [Finding("warning", "teacher", found, LARGER_TEACHER)]


def crf_words(figures: Mapping[str, Any]) -> str:
    """Such as `mIoU 61.2 % (irn, 1.14 s a frame)`, of the class maps after the CRF; empty without one."""
    found = figures.get("crf")
    if not found:
        return ""
    return f"{_score_words(found)} ({found['preset']}, {words.rate(found['seconds_per_frame'])} s a frame)"


def _score_words(figures: Mapping[str, Any]) -> str:
    return " and ".join(filter(None, [_miou_words(figures), clicks_words(figures)]))


def _miou_words(figures: Mapping[str, Any]) -> str:
    if not words.known(figures["miou"]) and figures.get("held_out_clicks"):
        return ""
    return f"mIoU {words.percent(figures['miou'])} %"


def clicks_words(figures: Mapping[str, Any]) -> str:
    """Such as `83.3 % (66.4 to 92.7) of 30 held-out clicks hit`; empty without such clicks."""
    found = figures.get("held_out_clicks")
    if not found:
        return ""
    return f"{share_words(found)} of {words.plural(found['clicks'], 'held-out click')} hit"


def share_words(found: Mapping[str, Any]) -> str:
    """A share with its interval: `83.3 % (66.4 to 92.7)`."""
    low, high = (words.percent(found[end]) for end in ("low", "high"))
    return f"{words.percent(found['accuracy'])} % ({low} to {high})"


def classes_words(figures: Mapping[str, Any]) -> str:
    """Such as `1 of 2 classes (not in the labels: car)`; empty if all are there or it is not known."""
    by_clicks = not words.known(figures.get("miou")) and figures.get("held_out_clicks")
    where = "held-out clicks" if by_clicks else "labels"
    absent = ", ".join(figures.get("classes_absent") or ())
    known = f"{figures.get('classes_scored')} of {figures.get('classes')} classes"
    return f"{known} (not in the {where}: {absent})" if absent else ""


def one_class_words(figures: Mapping[str, Any]) -> str:
    """What a constant prediction is; empty if there is none."""
    name = figures.get("consistency_of_one_class")
    return f"every pixel compared is {name}, and one class alone always agrees with itself" if name else ""
