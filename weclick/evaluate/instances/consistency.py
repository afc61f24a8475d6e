"""Temporal consistency of instances: whether a network finds the same objects one frame later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from weclick.common.errors import InputError
from weclick.common.rle import encode_masks
from weclick.evaluate.instances.found import Instances, as_array, instances
from weclick.evaluate.instances.images import instance_ap
from weclick.evaluate.instances.warping import warp_masks


class Step(NamedTuple):
    """Two frames of a clip, t and the next one that counts.

    Attributes:
        earlier: masks (N, H, W) bool, classes (N,) and scores (N,) found on t; numpy or torch.
        later: found on the next frame, likewise.
        flow: (2, H, W) px on the next frame's grid, pointing to t.
        valid: (H, W) bool on the next frame's grid, where the flow is believed. Other pixels are taken out of
            the masks of both frames. None believes it everywhere.
    """

    earlier: Sequence[Any]
    later: Sequence[Any]
    flow: Any
    valid: Any = None


def instance_consistency(steps: Iterable[Step], *, min_score: float = 0.5) -> float:
    """AP50 of what is found on a frame, taking for truth what was found on the frame before (TC).

    Liu et al. (CVPR 2021) call it temporal consistency. They do not say which predictions count as truth;
    here those do that have at least `min_score`. Their masks are warped along the flow. Classes must agree.

    Args:
        steps: consecutive frames of all clips.
        min_score: least score of a prediction that is taken for truth.

    Returns:
        0..1, the mean over the classes that are taken for truth; NaN if nothing is.

    Raises:
        InputError: shapes do not fit each other.
    """
    images: list[dict[str, Any]] = []
    known: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for at, step in enumerate(steps):
        earlier, later = _on_one_grid(step, min_score, f"step {at}")
        images.append({"id": at, "height": later.size[0], "width": later.size[1]})
        known += _entries(earlier, at)
        found += _entries(later, at)
    if not known:
        return float("nan")
    categories = [{"id": class_id} for class_id in sorted({e["category_id"] for e in (*known, *found)})]
    truth = {"images": images, "annotations": known, "categories": categories}
    return instance_ap(truth, found)["AP50"]


def _on_one_grid(step: Step, min_score: float, where: str) -> tuple[Instances, Instances]:
    """What counts as truth, and what was found, on the later frame's grid, without empty masks."""
    later = instances(step.later, f"{where}, later frame")
    earlier = instances(step.earlier, f"{where}, earlier frame", later.size)
    earlier = earlier.chosen(earlier.scores >= min_score)
    earlier = earlier._replace(masks=warp_masks(earlier.masks, step.flow, where))
    if step.valid is not None:
        valid = as_array(step.valid)
        if valid.shape != later.size or valid.dtype != bool:
            raise InputError(f"{where}: valid is {valid.shape} {valid.dtype}, expected {later.size} bool")
        earlier, later = (each._replace(masks=each.masks & valid) for each in (earlier, later))
    earlier, later = (each.chosen(np.flatnonzero(each.masks.any((1, 2)))) for each in (earlier, later))
    return earlier, later


def _entries(shown: Instances, image: int) -> list[dict[str, Any]]:
    """Instances as COCO lists them."""
    return [
        {"image_id": image, "category_id": class_id, "score": score, "segmentation": mask}
        for class_id, score, mask in zip(
            shown.classes.tolist(), shown.scores.tolist(), encode_masks(shown.masks), strict=True
        )
    ]
