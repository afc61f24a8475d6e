"""Scores of a detector on the scored frames of a split."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from weclick.common import words
from weclick.common.files import file_inside, write_text
from weclick.common.findings import Finding, tell
from weclick.common.load import watched_load
from weclick.common.short_names import short_path
from weclick.common.spread import spread_to_ends
from weclick.common.stages import SCORES
from weclick.common.strict_json import strict_json
from weclick.evaluate.instances.detecting import Found, detect, detect_frames
from weclick.evaluate.instances.drawing import overlay_instances
from weclick.evaluate.instances.figures import SURE_SCORE, all_figures
from weclick.evaluate.instances.found import Instances
from weclick.evaluate.instances.steps import EarlierFlow, earlier_flows
from weclick.evaluate.instances.told import told
from weclick.evaluate.instances.truth import (
    MIN_PIXELS,
    check_true_instances,
    read_true_instances,
    with_truth,
)
from weclick.evaluate.own_files import save_overlay
from weclick.evaluate.speed import device_name, per_second
from weclick.evaluate.stage import choose_examples, scored_frames
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_frame
from weclick.models.build import DETECTOR
from weclick.proxy_labels import ImageInstances, coco_json, coco_results
from weclick.store import Store
from weclick.store.model_file import load_model

RESULTS, IMAGES = "instances.json", "images.json"
"""What was found, as COCO's results; and the images, classes and truth that these speak of."""

TIMED_FRAMES = 7
"""Frames on which the speed is measured: that of a detector depends on how much it finds."""


def score_detector(
    manifest: Manifest,
    path: Path,
    folder: Path,
    *,
    store: Store,
    flow: Mapping[str, str],
    examples: int,
    device: str,
    min_pixels: int = MIN_PIXELS,
) -> dict[str, Any]:
    """Score a detector's checkpoint and write metrics.json, instances.json, images.json and examples.

    Scored frames without an instance file are left out, and a warning tells how many.

    Args:
        manifest: the split to score.
        path: model.safetensors of the detector.
        folder: gets the files. `COCO("images.json").loadRes("instances.json")` of pycocotools reads them.
        store: holds the flow entries.
        flow: clip id -> key. For temporal consistency and tracks, of pairs of a scored frame and an earlier
            one. Clips without one add nothing to these.
        examples: how many frames' overlays to keep.
        device: where to run.
        min_pixels: smaller true objects are excused; at 1024 x 2048 px, and carried over by area.

    Returns:
        What metrics.json holds: `instances`, see `all_figures`; frames, clips, image_size, parameters, fps,
        device, speed; left_out, the scored frames without an instance file; and examples.

    Raises:
        InputError: no object is there to be found, or the checkpoint is no detector or knows other classes.
    """
    part = with_truth(manifest)
    check_true_instances(part)
    model, _ = load_model(path, device, classes=manifest.classes.names, architectures=[DETECTOR])
    left_out = len(scored_frames(manifest)) - len(scored_frames(part))
    tell(_left_out(part, left_out))
    figures = {
        **score(
            model,
            part,
            folder,
            flows=earlier_flows(part, flow, store),
            examples=examples,
            device=device,
            min_pixels=min_pixels,
        ),
        "left_out": left_out,
    }
    write_text(folder / SCORES, strict_json(figures, indent=1) + "\n")
    print(told(figures), file=sys.stderr)
    return figures


def score(
    model: nn.Module,
    manifest: Manifest,
    folder: Path,
    *,
    flows: Mapping[str, EarlierFlow],
    examples: int,
    device: str,
    min_pixels: int = MIN_PIXELS,
) -> dict[str, Any]:
    """All scores of a detector on a split. It writes instances.json, images.json and the examples.

    Args:
        model: in eval mode, on `device`.
        manifest: of `with_truth`, with at least one scored frame.
        folder, examples, device, min_pixels: as in `score_detector`.
        flows: clip id -> its flow.

    Returns:
        As `score_detector`, without left_out.
    """
    wanted = {clip.id: {*clip.scored} for clip in manifest.clips}
    for clip_id, along in flows.items():
        wanted[clip_id] |= {s for _, s in along.pairs}
    kept = choose_examples(manifest, examples)

    def draw(clip: Clip, t: int, image: np.ndarray, found: Instances) -> None:
        frame = clip.id, clip.frames[t].name
        if frame in kept:
            sure = found.chosen(found.scores >= SURE_SCORE)
            drawn = overlay_instances(image, sure, manifest.classes.names)
            save_overlay(drawn, file_inside(folder, _example(frame)))

    found = detect_frames(model, manifest, wanted, device, draw)
    read = partial(read_true_instances, manifest, min_pixels=min_pixels)
    figures, truth = all_figures(manifest, found, flows, read, min_pixels)
    _write(manifest, folder, found, truth)
    return {
        "instances": figures,
        "frames": len(scored_frames(manifest)),
        "clips": sum(bool(clip.scored) for clip in manifest.clips),
        "image_size": list(next(clip.size for clip in manifest.clips if clip.scored)),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **_speed(model, manifest, device),
        "examples": [{"clip": c, "frame": name, "detector": _example((c, name))} for c, name in kept],
    }


def _left_out(part: Manifest, count: int) -> list[Finding]:
    if not count:
        return []
    frames = words.plural(count, "scored frame")
    told_of = (
        f"{frames} have no label or no instance file" if count > 1 else f"{frames} lacks one of its files"
    )
    return [
        Finding(
            "warning",
            f"split {part.split!r}",
            f"{told_of}, so they are left out",
            "add instance files and run `weclick manifest` again to score them too",
        )
    ]


def _write(manifest: Manifest, folder: Path, found: Found, truth: list[ImageInstances]) -> None:
    names = manifest.classes.names
    shown = [found[clip.id][t] for clip in manifest.clips for t in clip.scored]
    write_text(folder / RESULTS, strict_json(coco_results(shown, names)) + "\n")
    write_text(folder / IMAGES, strict_json(coco_json(truth, names)) + "\n")


def _speed(model: nn.Module, manifest: Manifest, device: str) -> dict[str, Any]:
    """Frames a second, from an image in memory to masks of its size, on frames spread over the split."""
    frames = [(clip, t) for clip in manifest.clips for t in clip.scored]
    images = [read_frame(manifest, clip, t) for clip, t in spread_to_ends(frames, TIMED_FRAMES)]
    with watched_load(torch.get_num_threads()) as load:
        fps = per_second([partial(detect, model, image, device) for image in images], device)
    return {"fps": fps, "device": device_name(device), "speed": load}


def _example(frame: tuple[str, str]) -> str:
    return f"examples/{short_path(frame[0])}/{short_path(frame[1])}/detector.png"
