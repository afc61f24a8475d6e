"""Checks whether a student of two streams gets motion and maps, and whether its crops show what is tagged."""

from __future__ import annotations

import math
from collections.abc import Sequence

from weclick.common.findings import Finding
from weclick.common.sections import Config
from weclick.common.stages import looks_at_maps, looks_at_stacks
from weclick.datasets import Dataset
from weclick.manifest import Clip, Manifest
from weclick.runs.doctor.sized import sized_manifest
from weclick.runs.stack_words import place

LEAST_SHARE = 0.5
"""Of a frame that a crop shows at the middle scale. Below, most tags are of what lies outside."""


def check_two_stream(
    config: Config, dataset: Dataset, train: Sequence[Clip], val: Sequence[Clip]
) -> list[Finding]:
    """Look at the frames around targets, at the classes that have maps, and at the crops.

    Args:
        config: complete. Of a run that does not learn from tags, only the frames are looked at.
        dataset: that the clips are of.
        train, val: clips of both splits, with the frames that the run reads.
    """
    findings: list[Finding] = []
    if looks_at_stacks(config):
        findings += _still(config, "targets", train, [clip.targets for clip in train])
        findings += _still(config, "scored frames", val, [clip.scored for clip in val])
    if looks_at_maps(config):
        findings += _without_map(config, dataset.classes.names, dataset.classes.has_background)
    if config["supervision"] == "tags":
        try:
            findings += _small_crops(config, sized_manifest(dataset, config["data"]["train"], train))
        except (ValueError, OSError):  # the check of the frames says it
            return findings
    return findings


def _still(
    config: Config, what: str, clips: Sequence[Clip], frames: Sequence[Sequence[int]]
) -> list[Finding]:
    """Frames around which no frame follows another, so that their stack is empty."""
    first, length = config["stack"]["first"], config["stack"]["length"]
    asked, still = 0, []
    for clip, own in zip(clips, frames, strict=True):
        numbers = {frame.number for frame in clip.frames}
        for position in own:
            begin = clip.frames[position].number + first
            steps = range(begin, begin + length)
            asked += 1
            still += [] if any({step, step + 1} <= numbers for step in steps) else [(clip, position)]
    if not still:
        return [Finding("ok", "stacks", f"all {asked} {what} have flow in their stack")] if asked else []
    clip, position = still[0]
    example = f"{clip.frames[position].name} of clip {clip.id}"
    found = (
        f"{len(still)} of {asked} {what} have no flow in their stack, since no frame from {place(first)} "
        f"to {place(first + length)} follows another, e.g. around {example}: "
        "the motion stream sees nothing there"
    )
    todo = "add the frames between, or widen stack.first and stack.length, or set student.fusion: none"
    nothing = what == "targets" and len(still) == asked
    return [Finding("error" if nothing else "warning", "stacks", found, todo)]


def _without_map(config: Config, names: Sequence[str], has_background: bool) -> list[Finding]:
    """Classes that no map shows, by the configuration."""
    cams = config["cams"]
    sources = {name: cams["sources"].get(name, cams["source"]) for name in names[has_background:]}
    unmapped = [
        name
        for name, source in sources.items()
        if source == "none" or (source == "imagenet" and not cams["mapping"].get(name))
    ]
    if not unmapped:
        return []
    found = f"no map is made of {', '.join(unmapped)}, so only tags tell of it, and nothing where it is"
    todo = "name ImageNet's classes for it in cams.mapping, or another source in cams.sources"
    return [Finding("warning", "maps", found, todo)]


def _small_crops(config: Config, manifest: Manifest) -> list[Finding]:
    student = config["student"]
    scale = math.sqrt(student["scale"][0] * student["scale"][1])  # the middle of a log-uniform draw
    shares = {clip.id: _share(student["crop"], clip.size, scale) for clip in manifest.clips if clip.targets}
    small = [clip for clip, share in shares.items() if share < LEAST_SHARE]
    if not small:
        return []
    found = (
        f"crops of {student['crop'][0]}x{student['crop'][1]} px (HxW) at the middle scale {scale:.2g} show "
        f"{100 * shares[small[0]]:.0f} % of a frame of clip {small[0]}, and tags are those of the whole frame"
    )
    todo = "enlarge student.crop or lower student.scale, so that most of a frame is in a crop"
    return [Finding("warning", "student.crop", found, todo)]


def _share(crop: Sequence[int], size: Sequence[int], scale: float) -> float:
    """The part of a frame's area that a crop shows."""
    return math.prod(min(1.0, side / (whole * scale)) for side, whole in zip(crop, size, strict=True))
