"""Tracks as YouTube-VIS lists them, made by hand, at random, or of the toy street."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from weclick.datasets.toy import draw as toy


def rle(mask):
    """A mask as JSON files hold it."""
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode("ascii")}


def listed(masks, *, video=1, category=1, **further):
    """One track: (T, H, W) bool, empty where the object is not seen."""
    return {
        "video_id": video,
        "category_id": category,
        "segmentations": [rle(mask) if mask.any() else None for mask in masks],
        **further,
    }


def data_set(annotations, *, frames=2, size=(8, 8), videos=(1,), categories=(1,)):
    return {
        "videos": [{"id": v, "length": frames, "height": size[0], "width": size[1]} for v in videos],
        "categories": [{"id": c, "name": f"class {c}"} for c in categories],
        "annotations": [{"id": i + 1, **each} for i, each in enumerate(annotations)],
    }


def box(frames, size, boxes):
    """(T, H, W) bool: (y0, y1, x0, x1) for each frame, None for nothing."""
    masks = np.zeros((frames, *size), bool)
    for t, corners in enumerate(boxes):
        if corners:
            y0, y1, x0, x1 = corners
            masks[t, y0:y1, x0:x1] = True
    return masks


class Street(NamedTuple):
    """Frames of a clip of the toy street, with all that is true of them.

    Attributes:
        ids: (T, H, W) of the objects, 0 elsewhere; class id * 1000 + k.
        instances: masks, classes and scores of each frame.
        flows: T of (2, H, W) px, from each frame to the one before; the first is None.
        visible: T of (H, W) bool, what is seen in the frame before; the first is None.
    """

    ids: np.ndarray
    instances: list
    flows: list
    visible: list

    def annotations(self, video):
        numbers = np.unique(self.ids[self.ids > 0])
        return [listed(self.ids == n, video=video, category=int(n) // 1000) for n in numbers]


def street(clip_index, *, frames, height, width, step=1, min_pixels=1):
    """Every `step`-th frame. Objects are left out where they have fewer pixels."""
    length = 1 + (frames - 1) * step
    clip = toy.render_clip(
        seed=3, split="train", clip_index=clip_index, height=height, width=width, frames=length
    )
    ids, instances = clip.instances[::step].copy(), []
    for shown in ids:
        numbers, pixels = np.unique(shown, return_counts=True)
        shown[np.isin(shown, numbers[pixels < min_pixels])] = 0
        there = numbers[(numbers > 0) & (pixels >= min_pixels)]
        instances.append((shown == there[:, None, None], there // 1000, np.full(len(there), 0.9)))
    steps = [clip.flow(t, t - step) for t in range(step, length, step)]
    flows = [None, *(flow.transpose(2, 0, 1) for flow, _ in steps)]
    return Street(ids, instances, flows, [None, *(visible for _, visible in steps)])
