"""Average precision and recall of COCO, from the overlaps of what was found with what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps (IoU) from which on an instance counts as found."""

MOST = (1, 10, 100)
"""Numbers of detections that count, those of the highest scores."""

_RECALLS = np.linspace(0, 1, 101)
_AT_75 = 5

Areas = Mapping[str, tuple[float, float]]
"""Name -> smallest and largest area, px. The first holds all sizes."""


@dataclass(frozen=True)
class Compared:
    """What was found of one class in one image or video, beside what is there.

    Attributes:
        overlaps: (D, G) float64, IoU.
        scores: (D,) falling.
        areas: (D,) px.
        true_areas: (G,) px.
        crowd: (G,) bool, groups of objects.
    """

    overlaps: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    true_areas: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True)
class _Matched:
    """Detections in one range of areas: scores (D,), whether each is true and false (T, D); and true ones."""

    scores: np.ndarray
    true: np.ndarray
    false: np.ndarray
    truths: int


def figures(classes: Sequence[Sequence[Compared]], areas: Areas) -> dict[str, float]:
    """COCO's figures, each in 0..1, and NaN where nothing is there to be found.

    Args:
        classes: for each class its images or videos.
        areas: `all`, and ranges with their names.

    Returns:
        `AP` (mean over the overlaps .5 to .95), `AP50`, `AP75`, `AR1`, `AR10`, `AR100` (recall with at most
        so many detections), and `AP_<range>`, `AR_<range>` for each further range.
    """
    whole, *ranges = areas
    told: dict[str, float] = {}
    for name in (whole, *ranges):
        matched = [[_match(compared, areas[name]) for compared in of_class] for of_class in classes]
        curves = [_curve(of_class, MOST[-1]) for of_class in matched]
        precision, recall = ([curve[i] for curve in curves if curve] for i in (0, 1))
        if name == whole:
            told |= {"AP": _mean(precision)}
            told |= {"AP50": _mean([p[0] for p in precision]), "AP75": _mean([p[_AT_75] for p in precision])}
            for most in MOST:
                fewer = [_curve(of_class, most) for of_class in matched]
                told[f"AR{most}"] = _mean([curve[1] for curve in fewer if curve])
        else:
            told |= {f"AP_{name}": _mean(precision), f"AR_{name}": _mean(recall)}
    return told


class Judged(NamedTuple):
    """What was found of one class in one image, at one overlap. What a crowd excuses is left out.

    Attributes:
        scores: (D,) falling.
        hits: (D,) bool.
        truths: how many were there to be found.
    """

    scores: np.ndarray
    hits: np.ndarray
    truths: int


def judged(compared: Compared) -> Judged:
    """What is true of what was found, at the overlap .5, of all sizes."""
    matched = _match(compared, (0, np.inf))
    counts = matched.true[0] | matched.false[0]
    return Judged(matched.scores[counts], matched.true[0][counts], matched.truths)


def area_under(images: Sequence[Judged]) -> float:
    """COCO's average precision of one class at one overlap, in 0..1; NaN if nothing was there."""
    parts = [_Matched(part.scores, part.hits[None], ~part.hits[None], part.truths) for part in images]
    most = max((len(part.scores) for part in images), default=0)
    curve = _curve(parts, most)
    return float("nan") if curve is None else _mean([curve[0]])


def _match(compared: Compared, area: tuple[float, float]) -> _Matched:
    """Detections take, by falling score, the free instance that they overlap most.

    Instances of other sizes and crowds excuse a detection that finds no other. A crowd may excuse many. A
    detection of another size that finds nothing is excused too. Of equal overlaps the last instance is taken.
    """
    ignored = compared.crowd | _outside(compared.true_areas, area)
    taken = np.zeros((len(THRESHOLDS), len(ignored)), bool)
    found = np.zeros((len(THRESHOLDS), len(compared.scores)), bool)
    excused = np.zeros_like(found)
    if len(ignored):
        for d, overlaps in enumerate(compared.overlaps):
            free = (~taken | compared.crowd) & (overlaps >= THRESHOLDS[:, None])
            wanted = free & ~ignored
            wanted = np.where(wanted.any(1, keepdims=True), wanted, free)
            found[:, d] = wanted.any(1)
            best = len(ignored) - 1 - np.where(wanted, overlaps, -1)[:, ::-1].argmax(1)
            taken[found[:, d], best[found[:, d]]] = True
            excused[:, d] = found[:, d] & ignored[best]
    excused |= ~found & _outside(compared.areas, area)
    return _Matched(compared.scores, found & ~excused, ~found & ~excused, int((~ignored).sum()))


def _curve(parts: Sequence[_Matched], most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Precision (T, 101) at fixed recalls, and the highest recall (T,); None if nothing is there."""
    truths = sum(part.truths for part in parts)
    if not truths:
        return None
    order = np.argsort(-np.concatenate([part.scores[:most] for part in parts]), kind="stable")
    true, false = (
        np.concatenate([getattr(part, name)[:, :most] for part in parts], 1)[:, order].cumsum(1)
        for name in ("true", "false")
    )
    recall = true / truths
    precision = true / (true + false + np.spacing(1.0))
    precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    at = np.stack([np.searchsorted(row, _RECALLS) for row in recall])
    reached = np.take_along_axis(np.pad(precision, ((0, 0), (0, 1))), at, 1)
    return reached, recall[:, -1] if len(order) else np.zeros(len(recall))


def _outside(areas: np.ndarray, area: tuple[float, float]) -> np.ndarray:
    return (areas < area[0]) | (areas > area[1])


def _mean(values: Sequence[np.ndarray]) -> float:
    return float(np.mean(values)) if values else float("nan")
