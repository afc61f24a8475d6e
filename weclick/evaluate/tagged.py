"""Scores of a classifier: how well it orders the frames of a split by the classes that they show."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from weclick.evaluate.scores import thinned
from weclick.manifest import IGNORE, Manifest
from weclick.manifest.read import read_clip, read_label
from weclick.metrics import average_precision
from weclick.models.inference import class_scores


def score_tags(
    model: nn.Module, manifest: Manifest, *, at_most: int | None = None, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Average precision by the classes of a split's labels, which are the frames' tags.

    Args:
        model: a classifier in eval mode, on `device`.
        manifest: whose scored frames all have labels.
        at_most: score so many of these frames, evenly chosen; None: all.
        device: of the classifier.

    Returns:
        mean_average_precision over the classes that occur, 0..1, NaN without any; and per_class_ap, name ->
        0..1 or None where the class does not occur. A background is left out.
    """
    found, there = [], []
    for clip in thinned(manifest.clips, at_most):
        for frame, image in zip(clip.frames, read_clip(manifest, clip), strict=True):
            classes = np.setdiff1d(read_label(manifest, frame), [IGNORE])
            found.append(class_scores(model, image, device).cpu().numpy())
            there.append(np.isin(np.arange(manifest.num_classes), classes))
    shape = (-1, manifest.num_classes)
    first = int(manifest.classes.has_background)
    per_class = average_precision(np.reshape(found, shape), np.reshape(there, shape).astype(bool))[first:]
    known = per_class[~np.isnan(per_class)]
    named = zip(manifest.classes.names[first:], per_class, strict=True)
    return {
        "mean_average_precision": float(known.mean()) if known.size else float("nan"),
        "per_class_ap": {name: None if np.isnan(value) else float(value) for name, value in named},
    }
