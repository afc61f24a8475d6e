"""The `evaluate` stage: scores of a network on the scored frames of a split."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from weclick.checkpoint import load_model
from weclick.errors import room_to_write
from weclick.geometry import backward_warp_nearest, resize_flow
from weclick.manifest import Clip, Manifest, write_text
from weclick.media import read_clip, read_label
from weclick.metrics import ConfusionMatrix
from weclick.models import normalize
from weclick.models.inference import fused_for_inference
from weclick.progress import progress_bar
from weclick.store import Store
from weclick.stored_flow import checked_stride, grid_flow, pairs_of


@torch.inference_mode()
def predict(
    model: nn.Module,
    image: np.ndarray,
    device: torch.device | str = "cpu",
    *,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Class ids of one frame at its full size, or another.

    Args:
        model: in eval mode, on `device`.
        image: (H, W, 3) uint8 RGB.
        size: (H, W) px of the answer; None takes the image's.

    Returns:
        (H, W) uint8 on `device`: the arg-max of the logits upsampled bilinearly.
    """
    rgb = torch.tensor(image, device=device).permute(2, 0, 1)[None]
    logits = model(normalize(rgb.float())).float()
    size = size or image.shape[:2]
    return interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(1)[0].byte()


def score_frames(
    model: nn.Module, manifest: Manifest, *, at_most: int | None = None, device: torch.device | str = "cpu"
) -> ConfusionMatrix:
    """The confusion matrix over a split's scored frames, or `at_most` evenly chosen ones of them."""
    matrix = ConfusionMatrix(manifest.num_classes)
    for clip in _thinned(manifest.clips, at_most):
        for t, image in enumerate(read_clip(manifest, clip)):
            if t in clip.scored:
                matrix.update(predict(model, image, device).cpu(), read_label(manifest, clip.frames[t]))
    return matrix


def scores(matrix: ConfusionMatrix, manifest: Manifest) -> dict[str, Any]:
    """Figures of a confusion matrix under their public names; None where a class is absent."""
    per_class = zip(manifest.classes.names, matrix.iou(), strict=True)
    return {
        "miou": float(matrix.miou()),
        "mean_accuracy": float(matrix.mean_accuracy()),
        "pixel_accuracy": float(matrix.pixel_accuracy()),
        "per_class_iou": {name: None if np.isnan(iou) else float(iou) for name, iou in per_class},
    }


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
) -> None:
    """Score checkpoints and write metrics.json, the student's figures at its top.

    Args:
        models: role -> model.safetensors; "student" is needed, others are scored beside it.
        manifest: the split to score.
        store: holds the flow entries.
        flow: clip id -> key.
        device: where to run.
        folder: gets metrics.json and examples/, and predictions/ if asked.
        examples: how many frames' predictions to keep for the report.
        write_predictions: keep those of all scored frames.
    """
    chosen = choose_examples(manifest, examples)
    metrics: dict[str, Any] = {}
    for role, path in models.items():
        model, _ = load_model(path, device, classes=manifest.classes.names)
        keep = {frame: [folder / _example(frame, role)] for frame in chosen}
        if write_predictions:
            for clip, name in scored_frames(manifest):
                path = folder / "predictions" / role / clip / f"{name}.png"
                keep.setdefault((clip, name), []).append(path)
        figures = evaluate(model, manifest, store=store, flow=flow, device=device, keep=keep)
        metrics |= figures if role == "student" else {role: figures}
    metrics["examples"] = [
        {"clip": clip, "frame": name, **{role: _example((clip, name), role) for role in models}}
        for clip, name in chosen
    ]
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")


def evaluate(
    model: nn.Module,
    manifest: Manifest,
    *,
    store: Store,
    flow: Mapping[str, str],
    device: torch.device | str = "cpu",
    keep: Mapping[tuple[str, str], Sequence[Path]] = MappingProxyType({}),
) -> dict[str, Any]:
    """All scores of a network on a split, run with its batch norms folded (see `fused_for_inference`).

    Temporal consistency is the mIoU between the prediction of a frame and that of an earlier frame,
    warped by nearest along the cached flow, over pixels that the flow and its masks call valid.

    Args:
        model: in eval mode, on `device`.
        manifest: the split to score.
        store: holds the flow entries.
        flow: clip id -> key; clips without one add nothing to temporal consistency.
        device: where the network is.
        keep: (clip id, frame name) -> files for the palette PNG of that prediction.

    Returns:
        miou, mean_accuracy, pixel_accuracy, per_class_iou, confusion_matrix, temporal_consistency (None
        without flow), frames, image_size, parameters, fps, device.
    """
    matrix, consistency = ConfusionMatrix(manifest.num_classes), ConfusionMatrix(manifest.num_classes)
    fast = fused_for_inference(model).to(memory_format=torch.channels_last)
    frames = sum(len(clip.frames) for clip in manifest.clips)
    with progress_bar("evaluate", frames, "frames") as bar:
        for clip in manifest.clips:
            predictions = {}
            for t, image in enumerate(read_clip(manifest, clip)):
                predictions[t] = predict(fast, image, device)
                bar.advance()
            for t in clip.scored:
                matrix.update(predictions[t].cpu(), read_label(manifest, clip.frames[t]))
                for path in keep.get((clip.id, clip.frames[t].name), ()):
                    save_class_map(predictions[t].cpu().numpy(), path, manifest.classes.palette)
            if clip.id in flow:
                _add_consistency(consistency, clip, predictions, store, flow[clip.id])
    size = manifest.clips[0].size
    return {
        **scores(matrix, manifest),
        "confusion_matrix": matrix.matrix.tolist(),
        "temporal_consistency": float(consistency.miou()) if consistency.matrix.any() else None,
        "frames": sum(len(clip.scored) for clip in manifest.clips),
        "image_size": list(size),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "fps": frames_per_second(fast, size, device),
        "device": _device_name(device),
    }


@torch.inference_mode()
def frames_per_second(
    model: nn.Module, size: tuple[int, int], device: torch.device | str, *, runs: int = 7
) -> float:
    """One over the median time of a frame, batch 1: normalised image in, full-size class map out."""
    image = torch.zeros((1, 3, *size), device=device)
    times = []
    for _ in range(runs + 2):
        began = time.perf_counter()
        logits = model(image).float()
        interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(1)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return 1 / median(times[2:])


def save_class_map(class_ids: np.ndarray, path: Path, palette: tuple[tuple[int, int, int], ...]) -> None:
    """Write class ids (H, W) uint8 as a PNG whose palette shows the class colours."""
    image = Image.fromarray(class_ids)
    image.putpalette([channel for color in palette for channel in color])
    with room_to_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


def scored_frames(manifest: Manifest) -> list[tuple[str, str]]:
    """(clip id, frame name) of all frames that are scored, in order."""
    return [(clip.id, clip.frames[t].name) for clip in manifest.clips for t in clip.scored]


def choose_examples(manifest: Manifest, count: int) -> list[tuple[str, str]]:
    """(clip id, frame name) of `count` scored frames, spread over the split."""
    scored = scored_frames(manifest)
    picks = np.linspace(0, len(scored) - 1, min(count, len(scored))).round().astype(int)
    return [scored[i] for i in picks]


def _example(frame: tuple[str, str], role: str) -> str:
    return f"examples/{frame[0]}_{frame[1]}_{role}.png"


def _thinned(clips: tuple[Clip, ...], at_most: int | None) -> Iterator[Clip]:
    """Clips with at most so many scored frames in all, and no frame besides."""
    scored = [(clip, t) for clip in clips for t in clip.scored]
    if at_most is not None and len(scored) > at_most:
        scored = [scored[i] for i in np.linspace(0, len(scored) - 1, at_most).round().astype(int)]
    for clip in clips:
        kept = [t for owner, t in scored if owner is clip]
        if kept:
            yield clip.restrict(kept)


def _add_consistency(
    matrix: ConfusionMatrix, clip: Clip, predictions: Mapping[int, Tensor], store: Store, key: str
) -> None:
    entry = store.get("flow", key)
    stride_px = checked_stride(entry, clip.size)
    for i, (t, s) in enumerate(pairs_of(entry, clip)):
        if t not in clip.scored:
            continue
        flow, good = (torch.from_numpy(part).to(predictions[t].device) for part in grid_flow(entry, i))
        warped, valid = backward_warp_nearest(
            predictions[s][None, None], _to_full_size(flow[None], stride_px, clip.size)
        )
        cells = interpolate(good[None, None].float(), scale_factor=stride_px, mode="nearest")
        valid = valid & (cells[..., : clip.height_px, : clip.width_px] > 0.5)
        truth = torch.where(valid, warped, torch.full_like(warped, 255))[0, 0]
        matrix.update(predictions[t].cpu(), truth.cpu())


def _to_full_size(flow: Tensor, stride_px: int, size: tuple[int, int]) -> Tensor:
    """From the stride grid to the frame; the last cells may reach beyond it."""
    full = resize_flow(flow, (flow.shape[-2] * stride_px, flow.shape[-1] * stride_px))
    return full[..., : size[0], : size[1]]


def _device_name(device: torch.device | str) -> str:
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
