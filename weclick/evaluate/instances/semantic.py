"""Class maps from instances, and their IoU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from weclick.common.errors import InputError
from weclick.evaluate.instances.found import instances
from weclick.metrics import ConfusionMatrix

NOTHING = 255
"""Of pixels that no mask covers. It is no class, so it is wrong wherever the truth has one."""


def semantic_from_instances(
    masks: Any, classes: Any, scores: Any, num_classes: int, size: tuple[int, int]
) -> np.ndarray:
    """Every pixel gets the class of the mask over it that has the best score (Liu et al., CVPR 2021).

    Args:
        masks: (N, H, W) bool, numpy or torch.
        classes: (N,) integer, 0..num_classes-1.
        scores: (N,). Of equal ones the first wins.
        num_classes: K, at most 255.
        size: (H, W) px.

    Returns:
        (H, W) uint8 class ids, NOTHING where no mask is.

    Raises:
        InputError: shapes do not fit, or a class is none of the K.

    Example:
        Two masks share the middle pixel. No mask covers the last.

        >>> masks = np.array([[[True, True, False, False]], [[False, True, True, False]]])
        >>> semantic_from_instances(masks, np.array([0, 1]), np.array([0.5, 0.9]), 2, (1, 4)).tolist()
        [[0, 1, 1, 255]]
    """
    if not 1 <= num_classes <= NOTHING:
        raise InputError(f"num_classes is {num_classes}, expected 1 to {NOTHING}")
    found = instances((masks, classes, scores), "semantic_from_instances", size)
    wrong = sorted({c for c in found.classes.tolist() if not 0 <= c < num_classes})
    if wrong:
        raise InputError(f"semantic_from_instances: classes {wrong[:5]}, expected 0 to {num_classes - 1}")
    class_map = np.full(found.size, NOTHING, np.uint8)
    for i in np.argsort(-found.scores, kind="stable")[::-1]:  # the best is drawn last
        class_map[found.masks[i]] = found.classes[i]
    return class_map


def semantic_iou(
    maps: Iterable[tuple[Any, Any]], num_classes: int, class_ids: Sequence[int]
) -> dict[str, Any]:
    """IoU of the classes that have instances, from one confusion matrix over all images.

    Args:
        maps: predicted (H, W), as `semantic_from_instances` gives it, and true (H, W) class ids of all
            classes, 255 ignored. A mask on a class without instances counts as wrong.
        num_classes: K of the truth.
        class_ids: those with instances.

    Returns:
        `miou` in 0..1, the mean over those of these classes that occur, and `per_class_iou`, class id -> IoU.
        NaN where a class occurs nowhere.

    Raises:
        InputError: shapes differ, or a class is none of the K.
    """
    if not class_ids or any(not 0 <= class_id < num_classes for class_id in class_ids):
        raise InputError(f"class_ids are {list(class_ids)}, expected some of 0 to {num_classes - 1}")
    matrix = ConfusionMatrix(num_classes)
    for predicted, truth in maps:
        try:
            matrix.update(predicted, truth)
        except ValueError as error:
            raise InputError(f"semantic_iou: {error}") from error
    iou = matrix.iou()[list(class_ids)]
    known = iou[~np.isnan(iou)]
    return {
        "miou": float(known.mean()) if known.size else float("nan"),
        "per_class_iou": {
            int(class_id): float(value) for class_id, value in zip(class_ids, iou, strict=True)
        },
    }
