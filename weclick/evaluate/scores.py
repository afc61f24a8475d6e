"""Scores of a network on the scored frames of a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from weclick.common.spread import spread_to_ends
from weclick.evaluate.motion import Stacks, no_stacks
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip, read_label
from weclick.metrics import ConfusionMatrix
from weclick.models.inference import predict


def score_frames(
    model: nn.Module,
    manifest: Manifest,
    *,
    at_most: int | None = None,
    device: torch.device | str = "cpu",
    stacks: Stacks = no_stacks,
) -> ConfusionMatrix:
    """The confusion matrix over a split's scored frames, or over `at_most` of them, evenly chosen."""
    matrix = ConfusionMatrix(manifest.num_classes)
    for clip in thinned(manifest.clips, at_most):
        for t, image in enumerate(read_clip(manifest, clip)):
            if t in clip.scored:
                class_ids = predict(model, image, device, stack=stacks(clip, t)).cpu()
                matrix.update(class_ids, read_label(manifest, clip.frames[t]))
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


def thinned(clips: tuple[Clip, ...], at_most: int | None) -> Iterator[Clip]:
    """Clips with at most `at_most` scored frames in all, and no other frames."""
    scored = [(clip, t) for clip in clips for t in clip.scored]
    if at_most is not None:
        scored = spread_to_ends(scored, at_most)
    for clip in clips:
        kept = [t for owner, t in scored if owner is clip]
        if kept:
            yield clip.restrict(kept)
