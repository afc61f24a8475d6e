"""The part `soft_labels` of `gpu.py`: the stage beside its network, its reading and its writing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from gpu_found import Setting, short
from gpu_limits import cost_of, seconds_of
from reads_data import SIZE, draw_frame, make_clip, make_manifest, with_digests

from weclick.common.config import complete_config
from weclick.common.sections import LabelPrecision
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.models.inference import fused_for_inference
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.proxy_labels.sources import Labeller, Source
from weclick.proxy_labels.teachers import EXACT, Teachers
from weclick.proxy_labels.teachers_fast import DTYPES
from weclick.runs.plan.probe import plausible_teacher
from weclick.store import Store
from weclick.store.model_file import load_model

LABELS: tuple[tuple[LabelPrecision, int], ...] = (("bfloat16", 8), ("float32", 1))
"""`soft_labels.precision` and frames at once."""

RUNS_AS = {"bfloat16": "bf16", "float32": "tf32"}
"""The matrix products of these: torch's convolutions take TensorFloat32 for float32 unless told otherwise."""


def measure_labels(at: Setting) -> None:
    """The stage `soft_labels` beside its network alone, beside its reading alone and its writing alone."""
    size = (64, 128) if at.small else SIZE
    teacher = {"backbone": "mobilenetv2_compact" if at.small else "resnet101", "pretrained": None}
    with at.scratch() as folder:
        manifest = drawn_clips(folder, size, 2 if at.small else 24)
        file = folder / "teacher.safetensors"
        file.write_bytes(plausible_teacher(complete_config({"teacher": teacher}), manifest))
        began = time.perf_counter()
        images = [
            image for clip in manifest.clips for image in read_clip(manifest, clip)
        ]  # in one thread, too
        decoded = len(images) / (time.perf_counter() - began)
        at.tell(size_px=size, frames=len(images), decoded_frames_per_second=short(decoded), table=[])
        for precision, batch in LABELS:
            row = compare_stage(at, folder / precision, manifest, file, images[:batch], precision)
            bare, found = row["bare_frames_per_second"], row["stage_frames_per_second"]
            at.tell(table=[*at.found["table"], row])
            slowest = min(bare, decoded, row["written_frames_per_second"])
            at.claim(f"soft labels, {precision}: stage over network", found / bare, slowest / bare, asked=0.9)
            limit = row["limit_frames_per_second"]
            at.claim(f"  its network, {teacher['backbone']}, {precision}: frames/s", bare, limit)


def compare_stage(
    at: Setting,
    folder: Path,
    manifest: Manifest,
    file: Path,
    images: Sequence[np.ndarray],
    precision: LabelPrecision,
) -> dict[str, Any]:
    """Frames a second of the network, of the stage, and of the stage with labels that are ready."""
    teachers = Teachers.of([file], precision, len(images))
    network, _ = load_model(file, at.device)
    cost = cost_of(network, images[0].shape[:2])
    dtype = DTYPES.get(precision, torch.float32)
    if precision != EXACT:
        network = fused_for_inference(network).to(dtype).to(memory_format=torch.channels_last)
    rgb = torch.from_numpy(np.stack(images)).to(at.device).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def bare() -> torch.Tensor:
        return network(normalize(rgb.float()).to(dtype)).float().softmax(1)

    seconds = seconds_of(bare, at.device, at.for_s)
    ready = Ready(bare()[0].cpu().numpy(), network.stride)
    ways = {"stage": teachers.load(manifest, at.device), "written": ready}
    rates = {
        f"{name}_frames_per_second": stage_rate(folder / name, manifest, Loaded(teachers, way), at.device)
        for name, way in ways.items()
    }
    return {
        "precision": precision,
        "batch": len(images),
        "bare_frames_per_second": short(len(images) / seconds),
        **rates,
        "limit_frames_per_second": short(cost.limit(at.rates, RUNS_AS[precision])),
    }


def stage_rate(folder: Path, manifest: Manifest, source: Source, device: str) -> float:
    """Frames a second of the whole stage into an empty store, after two clips into another one."""
    for name, clips in (("first", manifest.clips[:2]), ("then", manifest.clips)):
        part = replace(manifest, clips=clips)
        began = time.perf_counter()
        compute_soft_labels(part, source, chunk_px=64, store=Store([folder / name]), device=device)
        seconds = time.perf_counter() - began
    return short(sum(len(clip.frames) for clip in clips) / seconds)


@dataclass(frozen=True)
class Loaded:
    """A source of soft labels that was loaded before, so that the stage's time leaves loading out."""

    source: Source
    labeller: Labeller

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """Those of the source."""
        return self.source.key_inputs(clip)

    def attributes(self) -> Mapping[str, Any]:
        """Those of the source."""
        return self.source.attributes()

    def load(self, manifest: Manifest, device: str) -> Labeller:
        """What was loaded before."""
        return self.labeller


@dataclass(frozen=True)
class Ready:
    """Gives every frame the same labels, (K, h, w), at once: what is left of the stage is writing."""

    labels: np.ndarray
    stride_px: int

    def __call__(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
        """See `Labeller`."""
        for clip in clips:
            for _ in clip.frames:
                yield clip, self.labels


def drawn_clips(folder: Path, size: tuple[int, int], count: int) -> Manifest:
    """A manifest of clips of PNG files. They show one image that moves: to draw each would take long."""
    image = draw_frame(np.random.default_rng(0), size)

    def draw(number: int) -> Clip:
        clip = make_clip(str(number), size)
        (folder / "png" / clip.id).mkdir(parents=True)
        for t, frame in enumerate(clip.frames):
            moved = np.roll(image, (3 * number, 5 * t), (0, 1))
            cv2.imwrite(str(folder / frame.image), moved[..., ::-1])
        return with_digests(clip, folder)

    with ThreadPoolExecutor() as threads:
        return make_manifest(folder, [*threads.map(draw, range(count))])
