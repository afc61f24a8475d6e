"""Shows memory-flow distillation on whole training targets, read and warped as in a training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from weclick.common.sections import Config, TrainingSection
from weclick.common.spread import spread_over
from weclick.geometry import Crop
from weclick.losses import consistency_matrix
from weclick.manifest import Clip
from weclick.manifest.window import Window
from weclick.runs.report.results import Results, require
from weclick.store import Store
from weclick.store.flow_entries import MASK_BITS, checked_stride, stored_pairs
from weclick.store.model_file import load_model
from weclick.train.counts import warp_neighbours
from weclick.train.data.assemble import assemble
from weclick.train.data.batch import Batch
from weclick.train.data.sample import Sample, padded_size
from weclick.train.data.stream import Caches, Stream


@dataclass(frozen=True)
class Strip:
    """A target, a neighbour, and the values of Eqs. 2 and 3 for them on the logit grid (h, w).

    Attributes:
        clip: holds both frames.
        target, neighbour: positions in `clip.frames`.
        stride_px: of the grid.
        flow: (2, h, w) px of the frame, NaN where the warp is not valid.
        warped: (K, h, w) the student's probabilities of the neighbour, warped onto the target.
        teacher: (K, h, w) the teacher's of the target.
        student: (K, h, w) the student's of the target.
        trust: (K, h, w) the consistency matrix.
        valid: (h, w) bool, where the loss counts.
    """

    clip: Clip
    target: int
    neighbour: int
    stride_px: int
    flow: np.ndarray
    warped: np.ndarray
    teacher: np.ndarray
    student: np.ndarray
    trust: np.ndarray
    valid: np.ndarray

    def disputed_trust(self) -> np.ndarray:
        """(h, w) the trust in the class on which neighbour and teacher differ most; NaN where not valid."""
        most = np.abs(self.warped - self.teacher).argmax(0)[None]
        return np.where(self.valid, np.take_along_axis(self.trust, most, 0)[0], np.nan)


def compute_strips(results: Results, config: Config, store: Store, at_most: int) -> list[Strip]:
    """Run the student on some training targets and one neighbour of each, the nearest that has a flow.

    Args:
        results: gives the student, the soft labels and the flows.
        config: complete; `window`, `mfd` and `student` are read.
        store: holds frames, flows and soft labels.
        at_most: number of strips, spread over the split.

    Returns:
        The strips; none if the run has no soft labels, or no target has a neighbour.
    """
    pairs = _pairs(results, Window(**config["window"]), store)
    if not (pairs and results.frames and results.soft_labels):
        return []
    model, _ = load_model(require(results.layout.weights("student"), "student"))
    stride_px = cast("int", model.stride)
    student: TrainingSection = config["student"]
    occlusion = config["mfd"]["occlusion"] if config["mfd"]["weight"] else "none"
    stream = Stream(
        results.train,
        results.clicks,
        Caches(store, results.frames, results.flow[results.train.split], results.soft_labels),
        window=Window(**config["window"]),
        options={**student, "batch_size": 1},
        stride_px=stride_px,
        occlusion=occlusion,
        seed=0,
    )
    strips = []
    for clip, target, neighbour in spread_over(pairs, at_most):
        reads = stream.read([_whole_frames(results, clip, target, neighbour)])
        batch = assemble(
            reads, stride_px=stride_px, mask_bits=MASK_BITS[occlusion], device=torch.device("cpu")
        )
        seen = look_along_flow(model, batch, mode=config["mfd"]["consistency"])
        strips.append(_strip(clip, target, neighbour, stride_px, batch, seen))
    return strips


@torch.inference_mode()
def look_along_flow(model: nn.Module, batch: Batch, *, mode: Any) -> dict[str, Tensor]:
    """Compute what `Objective` compares in memory-flow distillation.

    Args:
        model: the student, in eval mode.
        batch: B targets and their M neighbours.
        mode: of the consistency matrix.

    Returns:
        student, warped, teacher, trust, each (M, K, h, w); valid (M, 1, h, w) bool.
    """
    assert batch.teacher is not None, "the consistency matrix needs soft labels in the batch"
    logits = model(batch.images).float()
    warped, valid = warp_neighbours(batch, logits[batch.targets :])
    teacher = batch.teacher[batch.target_of]
    return {
        "student": logits[batch.target_of].softmax(1),
        "warped": warped,
        "teacher": teacher,
        "trust": consistency_matrix(warped, teacher, mode=mode),
        "valid": valid,
    }


def _pairs(results: Results, window: Window, store: Store) -> list[tuple[Clip, int, int]]:
    """(clip, target, nearest neighbour) of every training target whose flow to a neighbour is stored."""
    keys = results.flow.get(results.train.split, {})
    found = []
    for clip in results.train.clips:
        if clip.id not in keys:
            continue
        entry = store.get("flow", keys[clip.id])
        checked_stride(entry, clip.size)
        stored = stored_pairs(entry, clip)
        for target in clip.targets:
            nearest = next((n for n in window.candidates(clip, target) if (target, n) in stored), None)
            if nearest is not None:
                found.append((clip, target, nearest))
    return found


def _whole_frames(results: Results, clip: Clip, target: int, neighbour: int) -> Sample:
    """A sample without scale and flip, padded below and to the right as the networks need it."""
    clicks = results.clicks.of(clip.id, clip.frames[target].name)
    return Sample(clip, target, (neighbour,), Crop(0.0, 0.0, 1.0, False, padded_size(clip.size)), clicks)


def _strip(
    clip: Clip, target: int, neighbour: int, stride_px: int, batch: Batch, seen: Mapping[str, Tensor]
) -> Strip:
    """The strip as arrays, without the padding."""
    rows, columns = (-(-side // stride_px) for side in clip.size)
    maps = {name: values[0, ..., :rows, :columns].numpy() for name, values in seen.items()}
    valid = maps.pop("valid")[0]
    flow = batch.flow[0, :, :rows, :columns].numpy() * stride_px
    return Strip(clip, target, neighbour, stride_px, flow=np.where(valid, flow, np.nan), valid=valid, **maps)
