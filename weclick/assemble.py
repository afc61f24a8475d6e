"""Windows as stored -> a batch: one joint affine per sample for frames, clicks, flow and soft labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weclick.batch import Batch
from weclick.geometry import Crop, grid_size, move_points, sample_crop, sample_flow_crop
from weclick.manifest import Clip
from weclick.models import normalize
from weclick.store import decode_flow, decode_probabilities


@dataclass(frozen=True)
class Sample:
    """One target, its neighbours, the crop that all of them share, and the target's clicks."""

    clip: Clip
    target: int
    neighbours: tuple[int, ...]
    crop: Crop
    clicks: np.ndarray


@dataclass(frozen=True)
class Part:
    """A window of a stored array: its first (row, column) there and the grid's stride."""

    data: np.ndarray
    origin: tuple[int, int]
    stride_px: int


@dataclass(frozen=True)
class Read:
    """A sample and the windows read for it: frames and soft labels target first, flow by neighbour."""

    sample: Sample
    parts: Mapping[str, list[Part]]


def assemble(reads: list[Read], *, stride_px: int, mask_bits: int, device: torch.device) -> Batch:
    """Resample the windows of a batch by their samples' crops, on `device`.

    Args:
        reads: one per sample.
        stride_px: of the logit grid.
        mask_bits: cached validity bits that a flow needs to count; 0 asks none.
        device: where the batch is wanted.
    """
    images, inside = _images(reads, stride_px, device)
    points, classes = _points(reads, device)
    flow, flow_valid = _flows(reads, stride_px, mask_bits, device)
    target_of = [i for i, read in enumerate(reads) for _ in read.sample.neighbours]
    return Batch(
        images=images,
        inside=inside,
        points=points,
        classes=classes,
        target_of=torch.tensor(target_of, dtype=torch.int64, device=device),
        flow=flow,
        flow_valid=flow_valid,
        teacher=_teacher(reads, stride_px, device),
    )


def _in_batch_order(reads: list[Read], kind: str) -> tuple[list[Sample], list[Part]]:
    """Targets of all samples first, then their neighbours."""
    targets = [(read.sample, read.parts[kind][0]) for read in reads]
    neighbours = [(read.sample, part) for read in reads for part in read.parts[kind][1:]]
    samples, parts = zip(*targets, *neighbours, strict=True)
    return list(samples), list(parts)


def _images(reads: list[Read], stride_px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    samples, parts = _in_batch_order(reads, "frames")
    rgb = [torch.from_numpy(part.data).to(device).permute(2, 0, 1) for part in parts]
    images, within = _resample(sample_crop, rgb, samples, parts, 1)
    inside = _resample(sample_crop, [image[:1] for image in rgb], samples, parts, stride_px)[1]
    return normalize(images) * within, inside


def _points(reads: list[Read], device: torch.device) -> tuple[Tensor, Tensor]:
    points, classes = [], []
    for i, read in enumerate(reads):
        clicks = read.sample.clicks
        at = torch.from_numpy(np.stack([clicks["y"], clicks["x"]], 1).astype(np.float32))
        moved, inside = move_points(at, read.sample.crop)
        index = torch.full((int(inside.sum()), 1), float(i))
        points.append(torch.cat([index, moved[inside]], 1))
        classes.append(torch.from_numpy(clicks["class_id"].astype(np.int64))[inside])
    return torch.cat(points).to(device), torch.cat(classes).to(device)


def _flows(reads: list[Read], stride_px: int, mask_bits: int, device: torch.device) -> tuple[Tensor, Tensor]:
    pairs = [(read.sample, part) for read in reads for part in read.parts.get("flow", [])]
    if not pairs:
        empty = torch.zeros((0, 2, *grid_size(reads[0].sample.crop.size, stride_px)), device=device)
        return empty, empty[:, :1].bool()
    samples, parts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    stored = [torch.from_numpy(decode_flow(part.data)).to(device) for part in parts]
    flow = _resample(sample_flow_crop, stored, samples, parts, stride_px)[0]
    if not mask_bits:
        return flow, torch.ones_like(flow[:, :1], dtype=torch.bool)
    parts = [part for read in reads for part in read.parts["valid"]]
    masks = [torch.from_numpy((part.data & mask_bits) == mask_bits)[None].to(device) for part in parts]
    good = _resample(sample_crop, [mask.float() for mask in masks], samples, parts, stride_px)[0]
    return flow, good > 0.5


def _teacher(reads: list[Read], stride_px: int, device: torch.device) -> Tensor | None:
    if "soft_labels" not in reads[0].parts:
        return None
    samples, parts = _in_batch_order(reads, "soft_labels")
    stored = [torch.from_numpy(decode_probabilities(part.data, class_axis=0)).to(device) for part in parts]
    return _resample(sample_crop, stored, samples, parts, stride_px)[0]


def _resample(
    sample: Callable[..., tuple[Tensor, Tensor]],
    windows: list[Tensor],
    samples: list[Sample],
    parts: list[Part],
    stride_px: int,
) -> tuple[Tensor, Tensor]:
    return sample(
        windows,
        [one.crop for one in samples],
        image_size=[one.clip.size for one in samples],
        stride=stride_px,
        source_stride=parts[0].stride_px,
        origin=[part.origin for part in parts],
    )
