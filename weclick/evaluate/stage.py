"""The `evaluate` stage: scores of a network on the scored frames of a split."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from weclick.clicks.people import Points
from weclick.common.crf_package import require_crf
from weclick.common.files import file_inside, write_text
from weclick.common.findings import tell
from weclick.common.load import watched_load
from weclick.common.progress import progress_bar
from weclick.common.short_names import short_path
from weclick.common.spread import spread_to_ends
from weclick.common.stages import SCORES
from weclick.common.strict_json import strict_json
from weclick.evaluate.agreement import Agreement
from weclick.evaluate.consistency import add_consistency
from weclick.evaluate.dense_crf import RefinedScores
from weclick.evaluate.held_out import ClickTally, held_out_clicks
from weclick.evaluate.motion import Stacks, no_stacks, stored_stacks
from weclick.evaluate.own_files import save_class_map
from weclick.evaluate.scored import (
    check_scored_pixels,
    consistency_figures,
    scored_classes,
    teacher_findings,
    told,
)
from weclick.evaluate.scores import scores
from weclick.evaluate.speed import device_name, frames_per_second
from weclick.evaluate.targets import Targets, score_targets
from weclick.manifest import Manifest
from weclick.manifest.read import read_clip, read_label
from weclick.metrics import ConfusionMatrix
from weclick.models.inference import class_logits, class_of, fused_for_inference
from weclick.store import Store
from weclick.store.model_file import load_model


def evaluate_models(
    models: Mapping[str, Path],
    manifest: Manifest,
    *,
    store: Store,
    flow: Mapping[str, str],
    device: str,
    folder: Path,
    examples: int,
    write_predictions: bool,
    targets: Targets | None = None,
    crf: str | None = None,
    stacks: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Score checkpoints and write metrics.json, the student's figures at its top.

    Frames with a label are scored by it, those with people's clicks by these, and some by both. If the
    teacher is no better than the student on target frames, a warning says what to do.

    Args:
        models: role -> model.safetensors; "student" is needed, others are scored beside it.
        manifest: the split to score.
        store: holds the flow entries.
        flow: clip id -> key.
        device: where to run.
        folder: gets metrics.json and examples/, and predictions/ if asked.
        examples: how many frames' predictions to keep for the report.
        write_predictions: keep the predictions of all scored frames.
        targets: score these too, see `score_targets`.
        crf: score the class maps after this dense CRF too, see `RefinedScores`.
        stacks: clip id -> key of its flow, of the need `stack`.

    Raises:
        InputError: no pixel can be scored, a checkpoint knows other classes, or the CRF's package is missing.
    """
    if crf:
        require_crf(f"evaluate.crf is {crf}")
    check_scored_pixels(manifest)
    clicks, agreement = held_out_clicks(manifest), Agreement(manifest.num_classes)
    chosen = choose_examples(manifest, examples)
    metrics: dict[str, Any] = {}
    for role, path in models.items():
        model, card = load_model(path, device, classes=manifest.classes.names, with_motion=True)
        keep = {frame: [file_inside(folder, _example(frame, role))] for frame in chosen}
        if write_predictions:
            for clip, name in scored_frames(manifest):
                file = f"predictions/{role}/{short_path(clip)}/{short_path(name, '.png')}.png"
                keep.setdefault((clip, name), []).append(file_inside(folder, file))
        figures = evaluate(
            model,
            manifest,
            store=store,
            flow=flow,
            device=device,
            keep=keep,
            clicks=clicks,
            watch=partial(agreement.add, role),
            crf=crf,
            stacks=stored_stacks(card.motion, store, stacks, manifest.clips),
        )
        if targets:
            seen = stored_stacks(card.motion, store, targets.stacks, targets.manifest.clips)
            figures |= score_targets(model, targets, device, seen)
        metrics |= figures if role == "student" else {role: figures}
        print(told(role, figures), file=sys.stderr)
    metrics |= agreement.figures("teacher")
    tell(teacher_findings(metrics))
    metrics["examples"] = [
        {"clip": clip, "frame": name, **{role: _example((clip, name), role) for role in models}}
        for clip, name in chosen
    ]
    write_text(folder / SCORES, strict_json(metrics, indent=1) + "\n")


def evaluate(
    model: nn.Module,
    manifest: Manifest,
    *,
    store: Store,
    flow: Mapping[str, str],
    device: torch.device | str = "cpu",
    keep: Mapping[tuple[str, str], Sequence[Path]] = MappingProxyType({}),
    clicks: Points | None = None,
    watch: Callable[[tuple[str, str], np.ndarray], None] = lambda *_: None,
    crf: str | None = None,
    stacks: Stacks = no_stacks,
) -> dict[str, Any]:
    """All scores of a network on a split, run with its batch norms folded (see `fused_for_inference`).

    Temporal consistency is the mIoU between the prediction of a frame and that of an earlier frame,
    warped to the nearest pixel along the cached flow, over pixels that the flow and its masks call valid.

    Args:
        model: in eval mode, on `device`.
        manifest: the split to score.
        store: holds the flow entries.
        flow: clip id -> key; clips without one add nothing to temporal consistency.
        device: where the network is.
        keep: (clip id, frame name) -> files for the palette PNG of that prediction.
        clicks: by people, on scored frames.
        watch: gets (clip id, frame name) and the (H, W) uint8 class ids of each scored frame.
        crf: a preset of `weclick.losses.mean_field`; score the class maps after this dense CRF too.
        stacks: of flow, for a network that looks at them.

    Returns:
        miou, mean_accuracy, pixel_accuracy, per_class_iou, confusion_matrix, of the frames with a label;
        those of `ClickTally`, `scored_classes` and `consistency_figures`; frames, clips, image_size,
        parameters, fps, device; speed, how busy the machine was while fps was measured (see `watched_load`);
        crf, the figures of `RefinedScores`, if asked.
    """
    matrix, consistency = ConfusionMatrix(manifest.num_classes), ConfusionMatrix(manifest.num_classes)
    tally = ClickTally(clicks or {}, manifest.classes.names)
    refined = RefinedScores(crf, manifest, clicks or {}) if crf else None
    fast = fused_for_inference(model).to(memory_format=torch.channels_last)
    frames, varied = sum(len(clip.frames) for clip in manifest.clips), False
    with progress_bar("evaluate", frames, "frames") as bar:
        for clip in manifest.clips:
            predictions = {}
            for t, image in enumerate(read_clip(manifest, clip)):
                logits = class_logits(fast, image, device, stack=stacks(clip, t))
                predictions[t] = class_of(logits)
                if refined and t in clip.scored:
                    refined.add(clip, t, logits, image)
                bar.advance()
            for t in clip.scored:
                frame, class_ids = clip.frames[t], predictions[t].cpu().numpy()
                varied = varied or bool(class_ids.min() != class_ids.max())
                if frame.label:
                    matrix.update(class_ids, read_label(manifest, frame))
                tally.add(clip.id, frame.name, class_ids)
                watch((clip.id, frame.name), class_ids)
                for path in keep.get((clip.id, frame.name), ()):
                    save_class_map(class_ids, path, manifest.classes.palette)
            if clip.id in flow:
                add_consistency(consistency, clip, predictions, store, flow[clip.id])
    size = manifest.clips[0].size
    with watched_load(torch.get_num_threads()) as load:
        fps = frames_per_second(fast, size, device)
    return {
        **scores(matrix, manifest),
        **tally.figures(),
        **scored_classes(matrix, tally.counts, manifest),
        "confusion_matrix": matrix.matrix.tolist(),
        **consistency_figures(consistency, manifest, varied=varied),
        "frames": sum(len(clip.scored) for clip in manifest.clips),
        "clips": sum(bool(clip.scored) for clip in manifest.clips),
        "image_size": list(size),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "fps": fps,
        "device": device_name(device),
        "speed": load,
        **({"crf": refined.figures()} if refined else {}),
    }


def scored_frames(manifest: Manifest) -> list[tuple[str, str]]:
    """(clip id, frame name) of all frames that are scored, in order."""
    return [(clip.id, clip.frames[t].name) for clip in manifest.clips for t in clip.scored]


def choose_examples(manifest: Manifest, count: int) -> list[tuple[str, str]]:
    """(clip id, frame name) of `count` scored frames, spread over the split."""
    return spread_to_ends(scored_frames(manifest), count)


def _example(frame: tuple[str, str], role: str) -> str:
    return f"examples/{short_path(frame[0])}/{short_path(frame[1])}/{role}.png"
