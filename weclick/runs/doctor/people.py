"""Checks people's clicks: those that are learned from, and those that networks are scored by."""

from __future__ import annotations

from collections.abc import Sequence

from weclick.clicks.generate import empty_classes
from weclick.clicks.people import Points, import_clicks
from weclick.common.findings import Finding
from weclick.datasets import Dataset
from weclick.manifest import Clip
from weclick.runs.doctor.sized import sized_manifest


def check_clicks(dataset: Dataset, split: str, clips: Sequence[Clip]) -> list[Finding]:
    """Read people's clicks as the clicks stage does."""
    what = f"clicks of {split}"
    try:
        manifest = sized_manifest(dataset, split, clips)
        people = import_clicks(manifest)
    except (ValueError, OSError) as error:
        return [Finding("error", what, str(error), f"correct {dataset.click_file}")]
    told = f"{_count(people.points)} clicks on {len(people.points)} frames"
    empty = empty_classes(manifest, people.points) if dataset.mix == "human" else []
    return [Finding("ok", what, told), *people.findings, *empty]


def check_held_out(dataset: Dataset, split: str, clips: Sequence[Clip]) -> list[Finding]:
    """Read the clicks that networks are scored by.

    A class without one is told if no mask is scored: nothing will be known of it.
    """
    scored = [clip.frames[t] for clip in clips for t in clip.scored]
    what = f"held-out clicks of {split}"
    try:
        manifest = sized_manifest(dataset, split, clips)
        points = import_clicks(manifest, "scored").points
    except (ValueError, OSError):  # the check of the training split's clicks reads the same file
        return []
    if not points:
        return []
    told = Finding("ok", what, f"{_count(points)} clicks on {len(points)} frames")
    ids = {int(class_id) for found in points.values() for class_id in found["class_id"]}
    unknown = [name for i, name in enumerate(dataset.classes.names) if i not in ids]
    if not unknown or any(frame.label for frame in scored):
        return [told]
    todo = "nothing will be known of how well the networks find them: click on them in held-out frames"
    return [told, Finding("warning", what, f"none is of {', '.join(unknown)}", todo)]


def _count(points: Points) -> int:
    return sum(map(len, points.values()))
