"""What label files tell about themselves: values, colours and edges that were hardly meant so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from weclick.common.findings import Finding, many
from weclick.datasets.label_facts import LabelFacts
from weclick.manifest import IGNORE, Classes

MIN_RAMPS, RAMPS_A_JUMP = 20, 0.25
"""Real maps have about 1 ramp to 100 jumps (CamVid, DAVIS), smoothed ones more than 1 to 2."""


def label_findings(classes: Classes, what: str, labels: Sequence[LabelFacts]) -> list[Finding]:
    """Judge the labels of a split.

    Args:
        classes: of the data set.
        what: heads the findings.
        labels: all of the split, or a sample.

    Returns:
        Errors and warnings; none if nothing is strange.
    """
    faults = [label.fault for label in labels if label.fault]
    found = [many("error", what, faults, "correct these label files, or the list of classes")]
    return [
        *(found if faults else []),
        *_ignored_class(classes, what, labels),
        *_smoothed(classes, what, labels),
        *_palettes(classes, what, labels),
        *_instances(classes, what.replace("labels", "instances"), labels),
    ]


def _ignored_class(classes: Classes, what: str, labels: Sequence[LabelFacts]) -> list[Finding]:
    """Masks of 0 and 255, as editors write them: 255 was meant as a class."""
    if classes.label_map and "masks" not in classes.label_map:
        return []
    clips: dict[str, list[LabelFacts]] = defaultdict(list)
    for label in labels:
        clips[label.clip].append(label)
    seen = {clip: {i for each in group for i in np.flatnonzero(each.counts)} for clip, group in clips.items()}
    ignoring = {clip for clip, group in clips.items() if any(each.ignored for each in group)}
    binary = {clip for clip in ignoring if len(seen[clip]) <= 1}
    never = sorted({*range(len(classes.names))}.difference(*(seen[clip] for clip in binary)))
    alike = all(len(clips[clip]) > 1 and all(each.ignored for each in clips[clip]) for clip in binary)
    if not binary or not never or ignoring - binary or not (alike or len(binary) == len(clips)):
        return []
    beside = {classes.names[i] for clip in binary for i in seen[clip]}
    where = "all labels" if len(binary) == len(clips) else f"the labels of {', '.join(sorted(binary)[:5])}"
    meant = " or ".join(f"{classes.names[i]}, write {i}" for i in never[:3])
    named = " or ".join(sorted(beside))
    found = f"in {where} only {IGNORE} stands beside {named}" if named else f"{where} hold {IGNORE} alone"
    return [Finding("warning", what, found, f"{IGNORE} is ignored: if it is {meant}")]


def _smoothed(classes: Classes, what: str, labels: Sequence[LabelFacts]) -> list[Finding]:
    ramps = sum((label.ramps for label in labels if label.ramps is not None), np.zeros(256, np.int64))
    jumps = sum(label.jumps for label in labels)
    total = int(ramps.sum())
    if total < MIN_RAMPS or total < RAMPS_A_JUMP * jumps:
        return []
    known = (
        [] if classes.label_map else [classes.names[i] for i in np.flatnonzero(ramps[: len(classes.names)])]
    )
    of = f" of {', '.join(known[:5])}" if known else ""
    found = f"edges step through the values between two classes ({total} px{of}), as if smoothed or resized"
    return [Finding("warning", what, found, "export the labels again, or resize them by nearest neighbour")]


def _palettes(classes: Classes, what: str, labels: Sequence[LabelFacts]) -> list[Finding]:
    """Compare class ids of the files with the list of classes, by the colours that both know."""
    if classes.label_map is not None:
        return []
    swapped = {
        f"{value} is {classes.names[value]} in the list of classes, but has the colour of "
        f"{classes.names[classes.palette.index(color)]} in the files"
        for label in labels
        for value, color in enumerate(label.palette)
        if label.counts[value] and color in classes.palette and color != classes.palette[value]
    }
    todo = "bring the classes into the order of the files' values"
    return [many("warning", what, sorted(swapped), todo)] if swapped else []


def _instances(classes: Classes, what: str, labels: Sequence[LabelFacts]) -> list[Finding]:
    """Instance files that tell nothing apart, or that are missing beside others."""
    strange = [label.instances for label in labels if label.instances]
    unread = not classes.instance_classes and any(label.objects is not None for label in labels)
    if unread:
        told = "the list of classes has no instance_classes, so the files are not read"
        return [Finding("warning", what, told, "name the classes whose objects they number, e.g. [car]")]
    if strange:
        todo = "write class id * 1000 + number in 16 bits; smaller values tell no objects apart"
        return [many("warning", what, strange, todo)]
    showing = [label for label in labels if label.counts[list(classes.instance_classes)].any()]
    there = [label for label in showing if label.objects is not None]
    if not there:
        return []
    if not any(label.objects for label in there):
        wanted, how = "a value of 1000 or more", "write class id * 1000 + number in 16 bits"
        if classes.numbered_objects:
            wanted, how = "a value from 1 to 254", "number the objects 1, 2, ..."
        told = f"none of {len(there)} files, such as that of {there[0].file}, holds {wanted}"
        todo = f"{how}, or remove the files: they tell no objects apart"
        return [Finding("warning", what, told, todo)]
    bare = [label.file for label in showing if label.objects is None]
    if not bare:
        return []
    names = ", ".join(classes.names[i] for i in classes.instance_classes)
    told = f"{len(bare)} of {len(showing)} labels that show {names} have no such file, e.g. {bare[0]}"
    return [Finding("warning", what, told, "add them, or objects that touch count as one there")]
