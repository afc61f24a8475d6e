"""True objects in the forms that scores take: COCO's annotations, and ids as Cityscapes has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weclick.common.rle import encode_masks
from weclick.evaluate.instances.cityscapes import GROUP_BELOW
from weclick.evaluate.instances.truth import TrueInstances
from weclick.proxy_labels import ImageInstances

VOID = 256
"""The label of pixels that nobody knows, where labels are class ids + 1."""


def true_image(file_name: str, true: TrueInstances) -> ImageInstances:
    """The objects of a frame for COCO's scores: groups and objects that are too small are crowds."""
    codes = encode_masks(np.concatenate([true.masks, true.groups]))
    classes = [*true.classes.tolist(), *true.group_classes.tolist()]
    crowd = [*true.small.tolist(), *[True] * len(true.groups)]
    return ImageInstances(file_name, true.label.shape, tuple(classes), tuple(codes), None, tuple(crowd))


def true_ids(true: TrueInstances) -> np.ndarray:
    """(H, W) int32 for `cityscapes_instance_ap`, whose labels here are class ids + 1, and VOID.

    An object is its label * 1000 + its position, anything else its label alone.
    """
    ids = np.where(true.known, true.label.astype(np.int32) + 1, VOID)
    for position, (mask, class_id) in enumerate(zip(true.masks, true.classes.tolist(), strict=True)):
        ids[mask] = (class_id + 1) * GROUP_BELOW + position
    return ids.astype(np.int32)


def labels_of(class_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """(N,) the labels of classes in `true_ids`."""
    return np.asarray(class_ids, np.int64) + 1
