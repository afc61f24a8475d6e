"""The items that the terms of the loss are means over, and where warped neighbours count."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from weclick.geometry import backward_warp
from weclick.manifest import IGNORE
from weclick.train.data.batch import Batch
from weclick.train.view import class_maps


def warp_neighbours(batch: Batch, logits: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The neighbours' probabilities on their targets' grids, and where they count.

    A cell counts if it comes from inside the neighbour's image, lies inside the target's and has a soft label
    there, and the cached masks accept its flow. On a CPU this takes one image at a time, since that fits into
    the cache: it needs two thirds of the time and memory of all at once.

    Args:
        batch: B targets and their M neighbours.
        logits: (M, K, h, w) of the neighbours; None to get the cells only.

    Returns:
        (M, K, h, w) probabilities, with K = 0 without logits; and (M, 1, h, w) bool.
    """
    inside = batch.inside[batch.targets :].to(batch.flow if logits is None else logits)
    at_once = 1 if inside.device.type == "cpu" else max(len(inside), 1)
    parts = []
    for at in range(0, len(inside), at_once):
        now = slice(at, at + at_once)
        known = [] if logits is None else [logits[now].softmax(1)]
        parts.append(backward_warp(torch.cat([*known, inside[now]], 1), batch.flow[now]))
    if not parts:
        return batch.flow[:, :0], batch.flow_valid
    warped, valid = (torch.cat(values) for values in zip(*parts, strict=True))
    valid = valid & (warped[:, -1:] > 0.999)
    return warped[:, :-1], valid & batch.taught[batch.target_of] & batch.flow_valid


COUNTS: dict[str, Callable[[Batch, Tensor | None], Tensor]] = {
    "clicks": lambda batch, weights: _click_weights(batch, weights),
    "labelled_pixels": lambda batch, _: class_maps(batch) != IGNORE,
    "target_cells": lambda batch, _: batch.inside[: batch.targets],
    "cells": lambda batch, _: batch.taught,
    "flow_cells": lambda batch, _: warp_neighbours(batch)[1],
    "tags": lambda batch, _: tags_of(batch)[:, 1:],
    "classes": lambda batch, _: torch.ones_like(tags_of(batch)[:, 1:]),
    "all_tags": lambda batch, _: tags_of(batch),
    "all_classes": lambda batch, _: torch.ones_like(tags_of(batch)),
}
"""The items that terms are means over, as values whose sum is their count.

`targets`, `frames` and `neighbours` come on top. Clicks count by the weights of their classes (N,), points of
a scribble also by their share of it; labelled pixels are bool (B, H, W), cells bool (.., 1, h, w). Tags and
classes are bool (B, K - 1), without background; all of them (B, K).
"""


def _click_weights(batch: Batch, class_weights: Tensor | None) -> Tensor:
    own = torch.ones_like(batch.classes) if batch.point_weights is None else batch.point_weights
    return own if class_weights is None else own * class_weights.to(batch.device)[batch.classes]


def tags_of(batch: Batch) -> Tensor:
    """(B, K) bool, the classes of the targets."""
    assert batch.tags is not None, "a term that learns from tags got a batch without"
    return batch.tags


def count(names: list[str], batch: Batch, class_weights: Tensor | None) -> Tensor:
    """(N,) float64 counts of a batch. Counts of batches can be added.

    Args:
        names: N names from COUNTS, or `targets`, `frames`, `neighbours`.
        batch: to count in.
        class_weights: (K,) factors of the classes, which weight the clicks, or None.
    """
    return torch.stack([_count(name, batch, class_weights) for name in names])


def _count(name: str, batch: Batch, class_weights: Tensor | None) -> Tensor:
    if name in COUNTS:
        return COUNTS[name](batch, class_weights).sum(dtype=torch.float64)
    return torch.tensor(number(batch, name), dtype=torch.float64).to(batch.device, non_blocking=True)


def number(batch: Batch, of: str) -> int:
    """How many `targets`, `neighbours` or `frames` a batch has."""
    return {
        "targets": batch.targets,
        "neighbours": batch.neighbours,
        "frames": batch.targets + batch.neighbours,
    }[of]
