"""Shows the same frames with the predictions of several runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from weclick.common.spread import spread_over
from weclick.manifest import Clip, Manifest
from weclick.manifest.images import read_ids
from weclick.manifest.read import read_clip, read_label
from weclick.runs.report.gallery import Captioned
from weclick.runs.report.pictures import fit, overlay, picture
from weclick.runs.report.results import Results, require

GREY = 128
"""Grey level under the class colours, if the frame itself is no longer on disk."""

Frame = tuple[str, str]
"""Clip id and name of a frame."""


def example_rows(runs: Mapping[str, Results], at_most: int) -> list[list[Captioned]]:
    """A row for each frame whose prediction every run kept: frame, truth, then one run after the other.

    Args:
        runs: label -> results.
        at_most: number of rows, spread over the split.
    """
    kept = {label: _students(results) for label, results in runs.items()}
    first, *others = kept.values()
    shared = [frame for frame in first if all(frame in other for other in others)]
    return [
        _row(runs, {label: examples[frame] for label, examples in kept.items()}, frame)
        for frame in spread_over(shared, at_most)
    ]


def _students(results: Results) -> dict[Frame, Path]:
    examples = results.evaluation.get("examples", [])
    folder = results.layout.of("evaluate")
    return {(item["clip"], item["frame"]): folder / item["student"] for item in examples}


def _row(runs: Mapping[str, Results], files: Mapping[str, Path], frame: Frame) -> list[Captioned]:
    predicted = {label: read_ids(require(path, "evaluate")) for label, path in files.items()}
    manifest = next(iter(runs.values())).val
    where = f"{frame[0]}, frame {frame[1]}"
    image, truth = _frame_and_truth(manifest, frame)
    row: list[Captioned] = []
    if image is not None:
        row.append((picture(fit(image), where), f"{frame[0]} · {frame[1]}"))
        if truth is not None:
            row.append(
                (
                    picture(overlay(image, truth, manifest.classes.palette), f"True classes of {where}"),
                    "truth",
                )
            )
    for label, ids in predicted.items():
        drawn = overlay(_below(image, ids), ids, runs[label].val.classes.palette)
        row.append((picture(drawn, f"Classes that {label} sees in {where}"), label))
    return row


def _below(image: np.ndarray | None, ids: np.ndarray) -> np.ndarray:
    """What a run's classes are drawn over: the frame, at the size at which that run reads it, or grey."""
    height, width = ids.shape[:2]
    if image is None:
        return np.full((height, width, 3), GREY, np.uint8)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def _frame_and_truth(manifest: Manifest, frame: Frame) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The frame and its classes, if the data set still lies where the run found it."""
    found = _find(manifest, frame)
    if found is None:
        return None, None
    clip, t = found
    if not manifest.path(clip.frames[t].image).exists():
        return None, None
    (image,) = read_clip(manifest, clip.restrict([t]))
    return image, read_label(manifest, clip.frames[t]) if clip.frames[t].label else None


def _find(manifest: Manifest, frame: Frame) -> tuple[Clip, int] | None:
    for clip in manifest.clips:
        for t, candidate in enumerate(clip.frames):
            if (clip.id, candidate.name) == frame:
                return clip, t
    return None
