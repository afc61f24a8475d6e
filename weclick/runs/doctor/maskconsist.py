"""Checks whether instances can be made, told apart, compared over time, and scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from weclick.clicks.tags import make_tags
from weclick.common.config_checks import map_sources
from weclick.common.findings import Finding
from weclick.common.sections import Config
from weclick.common.spread import spread_to_ends
from weclick.common.stages import takes
from weclick.common.words import plural
from weclick.datasets import Dataset
from weclick.evaluate.instances.truth import has_truth, read_true_instances
from weclick.manifest import Clip, Frame
from weclick.manifest.needs import Pairs, pair, step
from weclick.proxy_labels.detecting import STRIDE_PX
from weclick.runs.doctor.sized import sized_manifest

SAMPLE = 32
"""Frames of the training whose true instances are counted."""

FAR = 0.35
"""Of a frame's short side: how far the random walk may go. As published it goes 0.31 of 512 px."""

INSTEAD = "f2f or two_stream learn class maps from the same tags, for less"


def check_maskconsist(
    config: Config, dataset: Dataset, train: Sequence[Clip], val: Sequence[Clip]
) -> list[Finding]:
    """Look at the frames that steps compare, at the classes of the tags, and at the true instances.

    Args:
        config: complete. Of a run that makes no instances, nothing is looked at.
        dataset: that the clips are of.
        train, val: clips of both splits, with the frames that the run reads.
    """
    if not takes(config, "instances"):
        return []
    return [
        *_pairs(config, train),
        *_steps(config, train),
        *_walk(config, dataset, train),
        *_one_class(config, dataset, train),
        *_alone(config, dataset, train),
        *_outlined(config, train),
        *_unscored(config, dataset, val),
    ]


def _pairs(config: Config, clips: Sequence[Clip]) -> list[Finding]:
    """Clips without two frames that MaskConsist compares."""
    delta_frames = config["pair"]["delta_frames"]
    apart = f"{plural(delta_frames, 'frame')} apart (pair.delta_frames)"
    if not config["maskconsist"]["weight"]:
        return []
    bare, taught = _without(clips, lambda clip: pair(clip, delta_frames))
    if not bare:
        return [Finding("ok", "pairs", f"all {plural(taught, 'clip')} have frames {apart}")] if taught else []
    nothing = len(bare) == taught
    lack = "have no two frames" if taught > 1 else "has no two frames"
    found = f"{len(bare)} of {plural(taught, 'clip')} {lack} {apart}, e.g. {bare[0].id}"
    todo = "set pair.delta_frames to a distance that the frames have, or add the frames between"
    if nothing:
        found += "; MaskConsist compares two such frames in each step"
        todo += "; maskconsist.weight: 0 trains without it"
    return [Finding("error" if nothing else "warning", "pairs", found, todo)]


def _steps(config: Config, clips: Sequence[Clip]) -> list[Finding]:
    """Clips in which no frame follows another, so that there is no motion to amplify maps by."""
    motion = config["fcam"]["motion"]
    if motion == "none" or not takes(config, "confident_labels"):
        return []
    still, taught = _without(clips, step)
    if not still:
        return []
    found = (
        f"in {len(still)} of {plural(taught, 'clip')} no frame follows another, e.g. {still[0].id}: maps are "
        f"not amplified there, though fcam.motion is {motion}"
    )
    todo = "add the frames between, or set fcam.motion: none"
    return [Finding("warning", "motion", found, todo)]


def _walk(config: Config, dataset: Dataset, clips: Sequence[Clip]) -> list[Finding]:
    """Frames so small that maps spread over all of them, whatever the network of relations says.

    A step of the walk moves by radius / 2 cells in each direction, as the root of a mean square.
    """
    options, some = config["instances"], spread_to_ends(clips, SAMPLE)
    if options["source"] in ("masks", "network") or not some:
        return []
    try:
        sizes = {clip.size for clip in sized_manifest(dataset, config["data"]["train"], some).clips}
    except (ValueError, OSError):  # the check of the images says it
        return []
    cells = min(min(size) for size in sizes) / STRIDE_PX
    reach, exp_times = options["radius"] / 2, options["exp_times"]
    walked = reach * 2 ** (exp_times / 2)
    if walked <= FAR * cells:
        return []
    most = max(0, math.floor(2 * math.log2(FAR * cells / reach)))
    found = (
        f"a random walk of 2^{exp_times} steps goes {walked:.0f} cells where no edge stops it, and the "
        f"smallest frames have {cells:.0f} on their short side: instances will cover whole frames"
    )
    return [Finding("warning", "walk", found, f"set instances.exp_times: {most}, or read larger frames")]


def _without(clips: Sequence[Clip], pairs: Callable[[Clip], Pairs]) -> tuple[list[Clip], int]:
    """The training clips without such a pair, and how many clips there are."""
    taught = [clip for clip in clips if clip.targets]
    return [clip for clip in taught if not pairs(clip)], len(taught)


def _one_class(config: Config, dataset: Dataset, clips: Sequence[Clip]) -> list[Finding]:
    """Tags of one class alone. Those that are made from labels are looked at in a sample."""
    if not takes(config, "classifier") or "tags" not in map_sources(config["cams"]):
        return []
    some = spread_to_ends(clips, SAMPLE) if config["tags"]["source"] == "labels" else clips
    try:
        table = make_tags(sized_manifest(dataset, config["data"]["train"], some), config["tags"])
    except (ValueError, OSError):  # the check of the tags, or that of the labels, says it
        return []
    first = int(dataset.classes.has_background)
    tagged = sorted({class_id for ids in table.rows.values() for class_id in ids if class_id >= first})
    if len(tagged) != 1:
        return []
    name = dataset.classes.names[tagged[0]]
    found = (
        f"all tags are of {name}, so a classifier that shall find {name} sees nothing else to tell it from"
    )
    todo = (
        "add clips of other classes, or of none; or take maps of a network that knows the class "
        "(cams.source: imagenet), or clicks (instances.source: clicks)"
    )
    return [Finding("warning", "tags", found, todo)]


def _alone(config: Config, dataset: Dataset, clips: Sequence[Clip]) -> list[Finding]:
    """Training frames of which none shows two objects, where files tell them apart."""
    if not dataset.classes.instance_classes:
        return []
    known = [(clip, t) for clip in clips for t, frame in enumerate(clip.frames) if has_truth(frame)]
    chosen = spread_to_ends(known, SAMPLE)
    try:
        manifest = sized_manifest(dataset, config["data"]["train"], [clip for clip, _ in chosen])
        counts = [
            len(read_true_instances(manifest, clip, t).masks)
            for clip, (_, t) in zip(manifest.clips, chosen, strict=True)
        ]
    except (ValueError, OSError):  # the check of the labels says it
        return []
    if not counts or max(counts) > 1:
        return []
    sample = f" in a sample of {len(chosen)}" if len(chosen) < len(known) else ""
    found = f"no frame of {config['data']['train']} shows more than one object{sample}: none is told apart"
    return [Finding("warning", "instances", found, INSTEAD)]


def _outlined(config: Config, clips: Sequence[Clip]) -> list[Finding]:
    """Training frames without the masks that `instances.source: masks` learns from."""
    if config["instances"]["source"] != "masks":
        return []
    frames = [(clip.id, frame) for clip in clips for frame in clip.frames]
    bare = [f"{clip}/{frame.name}" for clip, frame in frames if not has_truth(frame)]
    if not bare:
        found = f"{len(frames)} training frames have files that tell objects apart"
        return [Finding("ok", "instances", found)]
    found = (
        f"{len(bare)} of {plural(len(frames), 'training frame')} have no label with a file that tells "
        f"objects apart, {bare[0]} first"
    )
    todo = "add instance files, leave these frames out, or set another instances.source than masks"
    return [Finding("error", "instances", found, todo)]


def _unscored(config: Config, dataset: Dataset, clips: Sequence[Clip]) -> list[Finding]:
    """Scored frames without the truth that AP needs. A split without any scored frame is told elsewhere."""
    frames = [clip.frames[t] for clip in clips for t in clip.scored]
    split = config["data"]["val"]
    if not frames:
        return []
    without = f"{_left_out(config, frames)}: then the run ends with the detector, without scores"
    if not dataset.classes.instance_classes:
        found = f"no class of {dataset.name} is one of instance_classes, so no AP can be scored"
        todo = (
            f"name the classes whose objects are told apart in instance_classes; or {without}; or {INSTEAD}"
        )
        return [Finding("error", "instances", found, todo)]
    told = [frame for frame in frames if has_truth(frame)]
    if told:
        found = f"{len(told)} of {len(frames)} scored frames of {split} have a file that tells objects apart"
        return [Finding("ok", "instances", found)]
    found = (
        f"none of {plural(len(frames), 'scored frame')} of {split} has both a label and a file that tells "
        "objects apart, so AP cannot be scored"
    )
    return [Finding("error", "instances", found, f"add instance files, or {without}")]


def _left_out(config: Config, frames: Sequence[Frame]) -> str:
    """What to do for a split whose frames, scored by labels or by clicks, tell no objects apart."""
    if any(frame.label for frame in frames):
        return "take the labels of this split away"
    if config["data"]["held_out"] == "other_frames":
        return "hold no click out (data.held_out_every: 0)"
    return "take the clicks on these clips away"
