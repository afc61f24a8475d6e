"""Stored windows -> a batch: one joint affine per sample for frames, clicks, masks, flow and soft labels.

Windows go to the device as small as they are on the disk; they are decoded, resampled and normalised there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.geometry import (
    LUMA,
    StackOptions,
    camera_flow,
    grid_size,
    inside_image,
    motion_stack,
    move_points,
    sample_crop,
    sample_flow_crop,
)
from weclick.manifest import IGNORE
from weclick.models.detector import Labels
from weclick.models.normalize import IMAGENET_MEAN, IMAGENET_STD
from weclick.store import decode_soft_labels
from weclick.store.codecs import FLOW_SCALE
from weclick.store.instance_entries import FrameInstances
from weclick.train.data.batch import Batch
from weclick.train.data.instances import cut_instances
from weclick.train.data.sample import NO_JITTER, Jitter, Sample

MAP_STEPS = 255
"""Steps of a stored map of a class, from 0 to its maximum."""


@dataclass(frozen=True)
class Part:
    """A sample's windows of one stored array, as stored.

    Attributes:
        data: (n, ...), of the target and its neighbours, or of the pairs.
        origin: (row, column) of the array at which the windows begin.
        stride_px: of the array's grid.
        attributes: of the entry; they tell the codec.
    """

    data: Tensor
    origin: tuple[int, int]
    stride_px: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Read:
    """A sample and the windows read for it: frames and soft labels target first, flow by neighbour.

    `instances` are those of whole frames, target first; empty if the run reads none. The part `masks` is the
    target's class map. A sample that has none is not labelled. The part `stack` holds
    the flows of the target's stack, each once; its attribute `slots` says which of them come in which order,
    and `cameras` holds the homographies to take away. A sample that has none stands still.
    """

    sample: Sample
    parts: Mapping[str, Part]
    instances: Sequence[FrameInstances] = ()


def assemble(
    reads: list[Read],
    *,
    stride_px: int,
    mask_bits: int,
    device: torch.device,
    masked: bool = False,
    stack: StackOptions | None = None,
    mapped: int = 0,
) -> Batch:
    """Decode the windows of a batch and resample them by their samples' crops, on `device`.

    Args:
        reads: one per sample.
        stride_px: of the logit grid.
        mask_bits: cached validity bits that a flow needs to count; 0 asks for none.
        device: where the batch is wanted.
        masked: whether the run learns from masks.
        stack: how the network's stacks of flow are made; None if it looks at none.
        mapped: K of a run that learns from maps of the classes; 0 if it does not.

    Raises:
        InputError: soft labels of several codecs or strides.
    """
    points, classes, weights = _points(reads, device)
    flow, flow_valid = _flows(reads, stride_px, mask_bits, device)
    back = any("flow_back" in read.parts for read in reads)
    target_of = [i for i, read in enumerate(reads) for _ in read.sample.neighbours]
    samples = [sample for sample, _, _ in _windows(reads, "frames")]
    teacher, known = _teacher(reads, stride_px, device)
    return Batch(
        images=_images(reads, device),
        inside=_inside(samples, stride_px).to(device),
        points=points,
        classes=classes,
        target_of=torch.tensor(target_of, dtype=torch.int64, device=device),
        flow=flow,
        flow_valid=flow_valid,
        teacher=teacher,
        teacher_known=known,
        labels=_labels(reads, device) if masked else None,
        point_weights=weights,
        tags=_tags(reads, device),
        stack=_stacks(reads, stack, device) if stack else None,
        heat=_heat(reads, mapped, stride_px, device) if mapped else None,
        instances=_instances(reads, device) if reads[0].instances else None,
        flow_back=_flows(reads, stride_px, 0, device, kind="flow_back")[0] if back else None,
    )


def _windows(reads: list[Read], kind: str) -> list[tuple[Sample, Part, int]]:
    """(sample, part, place in the part) in the batch's order: targets of all samples, then neighbours."""
    first = [(read.sample, read.parts[kind], 0) for read in reads]
    rest = [
        (read.sample, part, n)
        for read in reads
        for part in [read.parts[kind]]
        for n in range(1, len(part.data))
    ]
    return first + rest


def _images(reads: list[Read], device: torch.device) -> Tensor:
    windows = _windows(reads, "frames")
    images = _resample(sample_crop, windows, 1, device, view=lambda rgb: rgb.movedim(-1, -3))
    samples = [sample for sample, _, _ in windows]
    if any(sample.jitter != NO_JITTER for sample in samples):
        images = jitter_colours(images, [sample.jitter for sample in samples])
    _normalize(images)
    inside = _inside(samples, 1)
    return images if inside.all() else images.mul_(inside.to(device))


def _normalize(images: Tensor) -> None:
    """`weclick.models.normalize` in place and in one pass."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.addcmul(-mean / std, images, 1 / (255 * std), out=images)


def jitter_colours(rgb: Tensor, jitters: list[Jitter]) -> Tensor:
    """Brightness, then contrast, then saturation of each image: one linear map of its colours, and a clamp.

    Args:
        rgb: (S, 3, H, W) floating point, 0..255.
        jitters: S.
    """
    grey = np.outer(np.ones(3), LUMA)
    linear = [
        (j.saturation * np.eye(3) + (1 - j.saturation) * grey) * j.contrast * j.brightness for j in jitters
    ]
    shift = rgb.new_tensor([127.5 * (1 - j.contrast) for j in jitters]).view(-1, 1, 1)
    mixed = torch.baddbmm(shift, rgb.new_tensor(np.stack(linear)), rgb.flatten(2))
    return mixed.clamp_(0, 255).view_as(rgb)


def _inside(samples: list[Sample], stride_px: int) -> Tensor:
    sizes = np.array([sample.clip.size for sample in samples])
    return inside_image([sample.crop for sample in samples], sizes, stride=stride_px)


def _points(reads: list[Read], device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    """Points, classes and weights of clicks inside the crops. A scribble that is cut counts by its part."""
    points, classes, weights = [], [], []
    for i, read in enumerate(reads):
        clicks = read.sample.clicks
        at = torch.from_numpy(np.stack([clicks["y"], clicks["x"]], 1).astype(np.float32))
        moved, inside = move_points(at, read.sample.crop)
        index = torch.full((int(inside.sum()), 1), float(i))
        points.append(torch.cat([index, moved[inside]], 1))
        classes.append(torch.from_numpy(clicks["class_id"].astype(np.int64))[inside])
        own = read.sample.weights
        weights.append(torch.ones(len(at)) if own is None else torch.from_numpy(own))
        weights[-1] = weights[-1][inside]
    scribbled = any(read.sample.weights is not None for read in reads)
    return (
        torch.cat(points).to(device),
        torch.cat(classes).to(device),
        torch.cat(weights).to(device) if scribbled else None,
    )


def _tags(reads: list[Read], device: torch.device) -> Tensor | None:
    rows = [read.sample.tags for read in reads if read.sample.tags is not None]
    return torch.from_numpy(np.stack(rows)).to(device) if rows else None


def _flows(
    reads: list[Read], stride_px: int, mask_bits: int, device: torch.device, *, kind: str = "flow"
) -> tuple[Tensor, Tensor]:
    def pairs(kind: str) -> list[tuple[Sample, Part, int]]:
        found = [(read.sample, read.parts[kind]) for read in reads if kind in read.parts]
        return [(sample, part, n) for sample, part in found for n in range(len(part.data))]

    if not pairs(kind):
        empty = torch.zeros((0, 2, *grid_size(reads[0].sample.crop.size, stride_px)), device=device)
        return empty, empty[:, :1].bool()
    flow = _resample(
        sample_flow_crop, pairs(kind), stride_px, device, decode=lambda steps: steps / FLOW_SCALE
    )
    if not mask_bits:
        return flow, torch.ones_like(flow[:, :1], dtype=torch.bool)

    def holds(bits: Tensor) -> Tensor:
        return ((bits & mask_bits) == mask_bits).float()

    good = _resample(
        sample_crop, pairs("valid"), stride_px, device, decode=holds, view=lambda bits: bits[:, None]
    )
    return flow, good > 0.5


def _teacher(reads: list[Read], stride_px: int, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """Soft labels, and which cells have one; None for all, which most entries say of themselves."""
    if "soft_labels" not in reads[0].parts:
        return None, None
    windows = _windows(reads, "soft_labels")
    codecs = sorted({part.attributes["codec"] for _, part, _ in windows})
    if len(codecs) > 1:
        raise InputError(
            f"the clips of one batch have soft labels by the codecs {' and '.join(codecs)}, expected one; "
            "run the soft_labels stage for every shard with one soft_labels.codec"
        )
    strides = sorted({part.stride_px for _, part, _ in windows})
    if len(strides) > 1:
        raise InputError(
            f"the clips of one batch have soft labels on grids of {' and '.join(map(str, strides))} px, "
            "expected one; run the soft_labels stage for every shard with one configuration"
        )
    gaps = any(part.attributes.get("partial") for _, part, _ in windows)
    decode = partial(decode_soft_labels, attributes={**windows[0][1].attributes, "partial": gaps})
    probabilities = _resample(sample_crop, windows, stride_px, device, decode=decode)
    if not gaps:
        return probabilities, None
    share = probabilities.sum(1, keepdim=True)
    known = share >= 0.5
    return (probabilities / share.clamp(min=0.5)).where(known, 0), known


def _labels(reads: list[Read], device: torch.device) -> Tensor:
    labels = torch.full((len(reads), *reads[0].sample.crop.size), IGNORE, dtype=torch.uint8, device=device)
    masked = [i for i, read in enumerate(reads) if "masks" in read.parts]
    if masked:
        windows = [(reads[i].sample, reads[i].parts["masks"], 0) for i in masked]
        nearest = partial(sample_crop, mode="nearest")
        classes = _resample(nearest, windows, 1, device, view=lambda maps: maps[:, None])
        inside = _inside([sample for sample, _, _ in windows], 1).to(device)
        labels[masked] = classes.masked_fill_(~inside, IGNORE)[:, 0]
    return labels


def _instances(reads: list[Read], device: torch.device) -> tuple[Labels, ...]:
    """Those of all frames, in the batch's order: targets of all samples, then neighbours."""
    first = [(read.sample, read.instances[0]) for read in reads]
    rest = [(read.sample, found) for read in reads for found in read.instances[1:]]
    return tuple(
        cut_instances(found, sample.crop, sample.clip.size, device) for sample, found in first + rest
    )


def _stacks(reads: list[Read], options: StackOptions, device: torch.device) -> Tensor:
    """(B, 2 L, H, W), see `motion_stack`. The flows of a sample are resampled together, as one image."""
    size = reads[0].sample.crop.size
    stacks = torch.zeros((len(reads), 2 * options.length, *size), device=device)
    for stack, read in zip(stacks, reads, strict=True):
        if part := read.parts.get("stack"):
            joined = replace(part, data=part.data.flatten(0, 1)[None])
            windows = [(read.sample, joined, 0)]
            flows = _resample(sample_flow_crop, windows, 1, device, decode=lambda steps: steps / FLOW_SCALE)
            flows = flows.view(-1, 2, *size)
            if (cameras := part.attributes["cameras"]) is not None:
                flows -= camera_flow(cameras, read.sample.crop).to(device)
            stack.copy_(motion_stack(flows, part.attributes["slots"], options.scale_px))
    inside = _inside([read.sample for read in reads], 1)
    return stacks if inside.all() else stacks.mul_(inside.to(device))


def _heat(reads: list[Read], classes: int, stride_px: int, device: torch.device) -> Tensor:
    grid = grid_size(reads[0].sample.crop.size, stride_px)
    heat = torch.zeros((len(reads), classes, *grid), device=device)
    for own, read in zip(heat, reads, strict=True):
        part = read.parts["cams"]
        found = _resample(
            sample_crop, [(read.sample, part, 0)], stride_px, device, decode=lambda steps: steps / MAP_STEPS
        )
        own[part.attributes["class_ids"]] = found[0]
    return heat


def _resample(
    sample: Callable[..., tuple[Tensor, Tensor]],
    windows: list[tuple[Sample, Part, int]],
    stride_px: int,
    device: torch.device,
    *,
    decode: Callable[[Tensor], Tensor] | None = None,
    view: Callable[[Tensor], Tensor] = lambda stored: stored,
) -> Tensor:
    """Bring each part to the device once and resample its windows there; `view` makes them (n, C, h, w)."""
    parts = {id(part): view(part.data.to(device, non_blocking=True)) for _, part, _ in windows}
    return sample(
        [parts[id(part)][n] for _, part, n in windows],
        [one.crop for one, _, _ in windows],
        image_size=[one.clip.size for one, _, _ in windows],
        stride=stride_px,
        source_stride=windows[0][1].stride_px,
        origin=[part.origin for _, part, _ in windows],
        decode=decode,
    )[0]
