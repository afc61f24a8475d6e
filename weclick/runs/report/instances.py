"""The part of the page on the instances that a detector learns from: pictures, how many, and how good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from weclick.common import words
from weclick.common.errors import InputError
from weclick.common.spread import spread_over
from weclick.evaluate.instances.found import Instances
from weclick.evaluate.instances.truth import has_truth, read_true_instances
from weclick.manifest import Clip, Manifest
from weclick.runs.report.figures import curve_chart
from weclick.runs.report.gallery import Captioned, frames_of
from weclick.runs.report.instance_pictures import draw_instances, worded
from weclick.runs.report.pictures import fit, picture
from weclick.runs.report.results import Results
from weclick.store import Store
from weclick.store.instance_entries import InstanceEntry

MADE_OF = {
    "relation": "tags: class activation maps spread over the cells that belong together",
    "clicks": "clicks: each click is one, spread over the cells that belong together",
    "masks": "masks that people drew",
    "network": "the predictions of a detector that was trained before",
}
"""`instances.source` -> what the instances are made of, for the end of a sentence."""

GIVEN, USED = "labels_given", "labels_used"
"""Keys in a detector's metrics.jsonl: labels a frame before and after MaskConsist."""


COUNTED = 400
"""Frames at most whose instances are counted: masks have to be decoded for it. They are spread over all."""

SCORES = ("AP50", "recall50", "precision50")


class _Place(NamedTuple):
    """A frame, and the entry that holds its instances."""

    clip: Clip
    entry: InstanceEntry
    digest: str

    def found(self) -> Instances:
        return Instances(*self.entry.of(self.digest))


def section(results: Results, config: Mapping[str, Any], store: Store, at_most: int) -> dict[str, Any] | None:
    """Some frames with their instances, how many there are of each class, and how they agree with the truth.

    Returns:
        What the template shows; None if the run makes none.

    Raises:
        EntryMissingError: the index names an entry that the store lacks.
        InputError: an entry is of other frames.
    """
    if results.instances is None:
        return None
    places = _places(results, results.instances.made, store)
    looked_at = spread_over(places, COUNTED)
    counted = [place.found().classes for place in looked_at]
    full = [place for place, classes in zip(looked_at, counted, strict=True) if len(classes)]
    rows = [_row(results, place) for place in spread_over(full, at_most)]
    number = sum(map(len, counted))
    return {
        "made_of": MADE_OF[config["instances"]["source"]],
        "frames": words.plural(len(places), "frame"),
        "counted": words.plural(len(counted), "frame") if len(counted) < len(places) else "",
        "number": words.plural(number, "instance"),
        "each": f"{number / len(counted):.2f}" if counted else words.DASH,
        "bare": words.plural(len(counted) - len(full), "frame") if len(full) < len(counted) else "",
        "rows": rows,
        "has_truth": any(len(row) > 2 for row in rows),
        "classes": _classes(results, counted),
        "quality": _quality(results, results.instances.quality),
        "labels": _labels(results),
    }


def _places(results: Results, made: Mapping[str, str], store: Store) -> list[_Place]:
    clips = [clip for clip in results.train.clips if clip.id in made]
    entries = [(clip, InstanceEntry(store.get("instances", made[clip.id]), clip.size)) for clip in clips]
    return [_Place(clip, entry, digest) for clip, entry in entries for digest in entry.digests]


def _row(results: Results, place: _Place) -> list[Captioned]:
    clip, names = place.clip, results.train.classes.names
    t = next((t for t, frame in enumerate(clip.frames) if frame.digest == place.digest), None)
    if t is None:
        raise InputError(
            f"{results.layout.of('instances')}: holds instances of a frame that clip {clip.id!r} has not; "
            "the index belongs to another manifest: run the instances stage again"
        )
    found, frame, image = place.found(), clip.frames[t], frames_of(results.train, clip, t)[t]
    where = f"frame {frame.name} of {clip.id}"
    number = words.plural(len(found.masks), "instance")
    row = [
        (picture(fit(image), where.capitalize()), f"{clip.id} · {frame.name}"),
        (
            picture(
                draw_instances(image, found, names),
                f"Instances of {where}: {worded(found, names)}",
            ),
            number,
        ),
    ]
    if (truth := truth_of(results.train, clip, t)) is not None:
        drawn = draw_instances(image, truth, names, scored=False)
        row.append((picture(drawn, f"True instances of {where}"), "truth"))
    return row


def truth_of(manifest: Manifest, clip: Clip, position: int) -> Instances | None:
    """The true instances of a frame, each sure; None where no file tells them."""
    if not has_truth(clip.frames[position]):
        return None
    true = read_true_instances(manifest, clip, position)
    return Instances(true.masks, true.classes, np.ones(len(true.masks)))


def _classes(results: Results, counted: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Instances of each class that has any."""
    names, palette = results.train.classes.names, results.train.classes.palette
    counts = np.bincount(np.concatenate([*counted, np.zeros(0, np.int64)]), minlength=len(names))
    largest = max(int(counts.max()), 1)
    return [
        {
            "name": name,
            "color": f"rgb({' '.join(map(str, color))})",
            "number": words.count(int(count)),
            "share": float(count / largest),
            "frames": words.count(sum(bool((classes == k).any()) for classes in counted)),
        }
        for k, (name, color, count) in enumerate(zip(names, palette, counts, strict=True))
        if count
    ]


def _quality(results: Results, quality: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Scores of all classes and each one in per cent, and numbers of instances; None where no truth is."""
    if not quality:
        return None
    (rated,) = [row for row in quality if row["split"] == results.train.split] or quality[:1]
    palette = dict(zip(results.train.classes.names, results.train.classes.palette, strict=True))
    rows = {"All classes": rated, **rated["per_class"]}
    return {
        "frames": words.plural(rated["frames"], "frame"),
        "rows": [
            {
                "name": name,
                "color": f"rgb({' '.join(map(str, palette[name]))})" if name in palette else "",
                "cells": [
                    *(words.percent(row[key]) for key in SCORES),
                    *(words.count(row[key]) for key in ("instances", "truth")),
                ],
            }
            for name, row in rows.items()
        ],
    }


def _labels(results: Results) -> dict[str, Any] | None:
    """Labels a frame before and after MaskConsist over the training; None if the detector trained without."""
    lines = [line for line in results.curves.get("detector", ()) if USED in line and GIVEN in line]
    if not lines:
        return None
    steps = [line["step"] for line in lines]
    curves = {
        role: (steps, [line[key] for line in lines]) for role, key in (("student", USED), ("teacher", GIVEN))
    }
    last = lines[-max(len(lines) // 10, 1) :]
    given, used = (float(np.mean([line[key] for line in last])) for key in (GIVEN, USED))
    alt = "Labels a frame before and after MaskConsist over training steps"
    return {
        "chart": curve_chart(curves, name="labels", alt=alt),
        "given": f"{given:.2f}",
        "used": f"{used:.2f}",
    }
