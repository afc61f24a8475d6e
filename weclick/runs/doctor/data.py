"""Checks whether a data set is fit for a run: frames, labels, classes, splits and windows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from weclick.common.errors import InputError
from weclick.common.findings import Finding, many
from weclick.common.progress import progress_bar
from weclick.common.sections import Config
from weclick.common.spread import spread_to_ends
from weclick.common.stages import learns_from_clicks, takes
from weclick.datasets import Dataset, open_dataset
from weclick.datasets.base import trim
from weclick.datasets.digests import file_digests
from weclick.datasets.findings import labelled_frames, number_findings, unscored_findings
from weclick.datasets.label_facts import label_facts
from weclick.datasets.label_findings import label_findings
from weclick.evaluate.scored import check_scored_pixels
from weclick.manifest import Clip, Frame, Manifest
from weclick.manifest.annotation import check_labelled
from weclick.manifest.images import image_size, read_image
from weclick.manifest.video import video_info
from weclick.manifest.window import Window
from weclick.runs.doctor.clickable import check_clickable
from weclick.runs.doctor.crops import check_crops
from weclick.runs.doctor.maskconsist import check_maskconsist
from weclick.runs.doctor.people import check_clicks, check_held_out
from weclick.runs.doctor.tags import check_tags
from weclick.runs.doctor.two_stream import check_two_stream
from weclick.runs.wanted import Wanted

SAMPLE = 64
"""Number of frames, and of labels, that a quick check reads in each split."""


def check_data(config: Config, *, quick: bool = False) -> list[Finding]:
    """Look at the frames and labels of both splits.

    Args:
        config: complete.
        quick: read only a sample of the frames and labels; the splits are still compared in full.
    """
    data = config["data"]
    if data["name"] == "toy" and not Path(data["root"]).is_dir():
        todo = "nothing: the workflow draws it; `weclick toy` draws it now"
        return [Finding("warning", "data set", f"the toy street is not yet drawn at {data['root']}", todo)]
    needs, by_clicks = Wanted(config).needs, learns_from_clicks(config)
    try:
        dataset = open_dataset(data, config["clicks"]["mix"], config["tags"])
        splits = {
            split: [
                cut
                for clip in dataset.clips(split)
                if (cut := trim(clip, needs.reach_frames, whole=needs.whole)).frames
            ]
            for split in dict.fromkeys((data["train"], data["val"]))
        }
    except (ValueError, OSError) as error:
        return [Finding("error", "data set", str(error), "mend what the line names")]
    findings = [_told(split, clips) for split, clips in splits.items()]
    far = {split: number_findings(dataset, split, needs.window, needs.max_gap_frames) for split in splits}
    if not any(finding.what == "targets" for finding in far[data["train"]]):
        findings += _neighbours(splits[data["train"]], needs.window)
    for split, clips in splits.items():
        findings += _check_frames(dataset, split, clips, quick)
        findings += unscored_findings(dataset, split) + far[split]
        findings += _check_labels(
            dataset, split, clips, quick, masked=takes(config, "masks"), clicked=by_clicks
        )
    findings += _check_masks(config, splits[data["train"]])
    findings += check_clickable(config, dataset, splits[data["train"]])
    findings += check_crops(config, dataset, splits[data["train"]])
    findings += check_tags(config, dataset, splits[data["train"]])
    findings += check_two_stream(config, dataset, splits[data["train"]], splits[data["val"]])
    findings += check_maskconsist(config, dataset, splits[data["train"]], splits[data["val"]])
    if dataset.click_file:
        findings += check_clicks(dataset, data["train"], splits[data["train"]], few=by_clicks)
        findings += check_held_out(dataset, data["val"], splits[data["val"]])
    if data["train"] != data["val"]:
        intended = data.get("held_out") == "other_frames"
        findings += _leakage(dataset, splits[data["train"]], splits[data["val"]], intended=intended)
    return findings + _scored(dataset, data["val"], splits[data["val"]], findings)


def _told(split: str, clips: Sequence[Clip]) -> Finding:
    frames, targets = sum(len(c.frames) for c in clips), sum(len(c.targets) for c in clips)
    scored = sum(len(clip.scored) for clip in clips)
    return Finding(
        "ok",
        f"split {split}",
        f"{len(clips)} clips, {frames} frames, {targets} targets, {scored} scored frames",
    )


def _scored(dataset: Dataset, split: str, clips: Sequence[Clip], so_far: Sequence[Finding]) -> list[Finding]:
    """Check that there is a pixel to score, unless none is labelled or errors say why."""
    if any(finding.level == "error" for finding in so_far) or not any(clip.scored for clip in clips):
        return []
    try:
        check_scored_pixels(
            Manifest(dataset.name, str(dataset.root), split, 0, 1, dataset.classes, tuple(clips))
        )
    except (ValueError, OSError) as error:
        return [Finding("error", f"labels of {split}", str(error), "correct what the line names")]
    return []


def _neighbours(clips: Sequence[Clip], window: Window) -> list[Finding]:
    targets = [(clip, target) for clip in clips for target in clip.targets]
    if not targets:
        todo = "check data.target_every, data.train and that the split has labels"
        return [Finding("error", "targets", "the training split has no target frame", todo)]
    if window.frames <= 1:
        return []
    counts = [len(window.candidates(clip, target)) for clip, target in targets]
    alone = sum(count == 0 for count in counts)
    few = sum(0 < count < window.frames - 1 for count in counts)
    if not alone and not few:
        return [Finding("ok", "neighbours", f"all {len(targets)} targets have {window.frames - 1} or more")]
    found = f"of {len(targets)} targets {alone} have no neighbour, {few} fewer than {window.frames - 1}"
    todo = "add unlabelled frames beside the targets, or widen window.max_gap_frames or window.direction"
    return [Finding("warning", "neighbours", found, todo)]


def _check_frames(dataset: Dataset, split: str, clips: Sequence[Clip], quick: bool) -> list[Finding]:
    """Check that every frame is there, can be read, and has the size of its clip."""
    firsts = {clip.id: clip.frames[0] for clip in clips}
    jobs = [(clip.id, frame) for clip in clips for frame in _files_of(clip)]
    if not jobs:
        return []
    chosen = _sampled(jobs, quick)
    with progress_bar(f"frames of {split}", len(chosen), "frames") as bar, _pool() as pool:

        def look(job: tuple[str, Frame]) -> str:
            bar.advance()
            return _frame_fault(dataset.root, job[1], firsts[job[0]])

        faults = [fault for fault in pool.map(look, chosen) if fault]
    if faults:
        return [many("error", f"frames of {split}", faults, "restore the frames, or drop them")]
    images = [job for job in jobs if job[1].video_frame is None]
    read = [job for job in chosen if job[1].video_frame is None]
    found = [f"{_of(read, images)} images are readable and of one size a clip"] if images else []
    if len(images) < len(jobs):
        videos, opened = len(jobs) - len(images), len(chosen) - len(read)
        found.append(f"{opened} of {videos} videos can be opened; not all of their frames were decoded")
    return [Finding("ok", f"frames of {split}", "; ".join(found))]


def _files_of(clip: Clip) -> Iterable[Frame]:
    """One frame for each file; a video is one file."""
    return clip.frames[:1] if clip.frames[0].video_frame is not None else clip.frames


def _frame_fault(root: Path, frame: Frame, first: Frame) -> str:
    path = root / frame.image
    try:
        if frame.video_frame is not None:
            video_info(path)
            return ""
        size = read_image(path).shape[:2]
        wanted = image_size(root / first.image)
    except (OSError, ValueError) as error:
        return str(error) if str(path) in str(error) or frame is not first else f"{path}: {error}"
    if size != wanted:
        return (
            f"{path}: is {size[0]}x{size[1]} px (HxW), its clip began with {wanted[0]}x{wanted[1]}; "
            "all frames of a clip need one size"
        )
    return ""


def _check_masks(config: Config, clips: Sequence[Clip]) -> list[Finding]:
    """Look whether targets have the labels that networks shall learn from."""
    if not takes(config, "masks"):
        return []
    targets = [clip.frames[target] for clip in clips for target in clip.targets]
    try:
        check_labelled(config["data"]["train"], clips, config["supervision"])
    except InputError as error:
        return [Finding("error", "masks", str(error), "do what the line says")]
    told = f"{sum(frame.label is not None for frame in targets)} of {len(targets)} targets have a label"
    return [Finding("ok", "masks", told)]


def _check_labels(
    dataset: Dataset, split: str, clips: Sequence[Clip], quick: bool, *, masked: bool, clicked: bool
) -> list[Finding]:
    used = labelled_frames(dataset, clips, masked=masked)
    if not used:
        return []
    chosen, what = _sampled(used, quick), f"labels of {split}"
    labels = label_facts(dataset, split, chosen)
    findings = label_findings(dataset.classes, what, labels)
    faults = any(label.fault for label in labels)
    if not faults:
        told = f"{_of(chosen, used)} have known values and their frame's size"
        findings.insert(0, Finding("ok", what, told))
    seen = np.sum([label.counts for label in labels], axis=0)
    never = [name for name, count in zip(dataset.classes.names, seen, strict=True) if not count]
    if len(never) == len(seen) and len(chosen) == len(used) and not faults:
        # what is scored has an error of its own
        lacking = clicked and not dataset.click_file and any(clip.targets for clip in clips)
        told = f"not one pixel of all {len(used)} has a class, so there is nothing to click on"
        todo = "correct the labels or the list of classes, or name a click table in data.clicks"
        findings += [Finding("error", what, told, todo)] if lacking else []
    elif never and not faults:  # of a label with a fault nothing is known
        todo = "drop these classes, or add labels that show them; a network cannot learn what it never sees"
        occur = "never occurs" if len(never) == 1 else "never occur"
        where = f" in a sample of {len(chosen)}" if len(chosen) < len(used) else ""
        findings.append(Finding("warning", what, f"{', '.join(never)} {occur}{where}", todo))
    return findings


def _leakage(
    dataset: Dataset, train: Sequence[Clip], val: Sequence[Clip], *, intended: bool
) -> list[Finding]:
    """Find frames whose content lies in both splits. Training on a scored frame makes scores worthless.

    `intended`: scored frames shall be unlabelled ones of the training (data.held_out: other_frames).
    """
    clicked = _images(train, lambda clip: [clip.frames[i] for i in clip.targets])
    others = _images(train, lambda clip: clip.frames)
    scored = _images(val, lambda clip: [clip.frames[i] for i in clip.scored])
    sizes: dict[int, list[tuple[str, int | None]]] = {}
    try:
        for item in {*others, *scored}:
            sizes.setdefault((dataset.root / item[0]).stat().st_size, []).append(item)
        # Equal content has equal size, so only files that share their size with another are read.
        twins = [
            item
            for group in sizes.values()
            if len({*group} & others) and len({*group} & scored)
            for item in group
        ]
        digests = file_digests([dataset.root / item[0] for item in twins])
    except OSError as error:
        return [Finding("error", "splits", str(error), "restore the file")]

    def content(items: set[tuple[str, int | None]]) -> dict[tuple[str, int | None], str]:
        return {(digests[dataset.root / i[0]], i[1]): i[0] for i in items if dataset.root / i[0] in digests}

    shown = content(scored)
    both = sorted(shown[key] for key in shown.keys() & content(clicked).keys())
    if both:
        todo = "take them out of one split: the networks learn their answers in training"
        return [many("error", "splits", [f"{name}: a target, and scored" for name in both], todo)]
    seen = sorted(shown[key] for key in shown.keys() & content(others).keys())
    if seen:
        found = (
            f"{len(seen)} of {len(scored)} scored frames are also read in training, without their labels and "
            f"clicks, e.g. {seen[0]}"
        )
        if intended:
            return [Finding("ok", "splits", f"{found}; data.held_out: other_frames means it so")]
        return [
            Finding(
                "warning",
                "splits",
                found,
                "fine if intended; then set data.held_out to other_frames, or say so",
            )
        ]
    return [Finding("ok", "splits", "no file of a scored frame is, byte for byte, in the training split")]


def _images(clips: Sequence[Clip], frames_of: Any) -> set[tuple[str, int | None]]:
    return {(frame.image, frame.video_frame) for clip in clips for frame in frames_of(clip)}


def _sampled(items: list[Any], quick: bool) -> list[Any]:
    return spread_to_ends(items, SAMPLE) if quick else items


def _of(chosen: Sequence[Any], items: Sequence[Any]) -> str:
    return f"all {len(items)}" if len(chosen) == len(items) else f"{len(chosen)} sampled of {len(items)}"


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count())
