"""The true objects of frames, from the instance files that a manifest names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from weclick.clicks.components import FIRST_INSTANCE, scaled_min_pixels
from weclick.common.errors import InputError
from weclick.common.rle import MASK_BYTES
from weclick.common.words import count_bytes, plural
from weclick.manifest import IGNORE, Clip, Frame, Manifest
from weclick.manifest.read import read_instances, read_label_of

MIN_PIXELS, MIN_PIXELS_AT = 100, (1024, 2048)
"""Smaller objects are excused, as in Cityscapes' scores. It is carried over by area to other sizes."""

MOST_OBJECTS = FIRST_INSTANCE - 1
"""Of a frame. A file that numbers more is no list of objects."""


class TrueInstances(NamedTuple):
    """What is there in a frame.

    Attributes:
        masks: (N, H, W) bool, one object each. They do not overlap.
        classes: (N,) int64 class ids.
        numbers: (N,) int64, by which the file tells them apart; where they are stable, over a whole clip.
        label: (H, W) uint8 class ids of all pixels, IGNORE where nobody knows.
        groups: (G, H, W) bool, of each class with instances the pixels that no object has: nobody told these
            objects apart. Without the classes that have none.
        group_classes: (G,) int64.
        least_px: smaller objects are excused.
    """

    masks: np.ndarray
    classes: np.ndarray
    numbers: np.ndarray
    label: np.ndarray
    groups: np.ndarray
    group_classes: np.ndarray
    least_px: int

    @property
    def small(self) -> np.ndarray:
        """(N,) bool, the objects that are excused: too small to be asked for."""
        return self.masks.sum((1, 2)) < self.least_px

    @property
    def known(self) -> np.ndarray:
        """(H, W) bool, where somebody knows what is there. What is found elsewhere does not count."""
        return self.label != IGNORE


def has_truth(frame: Frame) -> bool:
    """Whether a frame has what `read_true_instances` reads: a label, and a file that tells objects apart."""
    return frame.label is not None and frame.instances is not None


def with_truth(manifest: Manifest) -> Manifest:
    """The split with only those scored frames whose objects are told apart."""

    def told_apart(clip: Clip) -> Clip:
        return replace(clip, scored=tuple(t for t in clip.scored if has_truth(clip.frames[t])))

    return replace(manifest, clips=tuple(map(told_apart, manifest.clips)))


def check_true_instances(manifest: Manifest) -> None:
    """Check that a split has at least one true object to be found. It reads files until it finds one.

    Args:
        manifest: of `with_truth`.

    Raises:
        InputError: it has none, or a file cannot be read.
    """
    where = f"split {manifest.split!r} of {manifest.root}"
    if not manifest.classes.instance_classes:
        raise InputError(
            f"{where} has no class whose objects are told apart, so no instance can be scored; name them in "
            "instance_classes of the list of classes"
        )
    frames = [(clip, t) for clip in manifest.clips for t in clip.scored]
    if not frames:
        raise InputError(
            f"{where} has no scored frame with both a label and an instance file, so there is nothing to "
            "score; add instance files, or name another split in data.val; `weclick predict` needs none"
        )
    if not any(len(read_true_instances(manifest, clip, t).masks) for clip, t in frames):
        raise InputError(
            f"{where}: none of {plural(len(frames), 'instance file')} numbers an object of "
            f"{', '.join(class_names(manifest))}, so there is nothing to find; correct the files, or name "
            "another split in data.val"
        )


def class_names(manifest: Manifest) -> list[str]:
    """Names of the classes that have instances."""
    return [manifest.classes.names[class_id] for class_id in manifest.classes.instance_classes]


def read_true_instances(
    manifest: Manifest,
    clip: Clip,
    position: int,
    *,
    min_pixels: int = MIN_PIXELS,
    min_pixels_at: Sequence[int] | None = MIN_PIXELS_AT,
) -> TrueInstances:
    """The objects of a frame, at the size at which it is read.

    An object's class is that of most of its pixels in the label: instance files of PASCAL VOC and DAVIS have
    no other, and those of Cityscapes say the same. What is of no class, or of one without instances, is no
    object. Pixels of a class with instances that belong to no object are a group. Cityscapes marks groups
    so, by ids below 1000.

    Args:
        manifest: names the files.
        clip: of the frame.
        position: of the frame in the clip.
        min_pixels: smaller objects are excused, see `TrueInstances`.
        min_pixels_at: (H, W) that this was chosen for; None leaves it as it is.

    Raises:
        InputError: the frame lacks a file, a file cannot be read, their sizes differ, or it holds too many
            objects.
    """
    frame = clip.frames[position]
    numbers = read_instances(manifest, frame)
    if numbers is None:
        raise InputError(
            f"frame {frame.name} of clip {clip.id!r} has no instance file; add it and run `weclick manifest` "
            "again, or leave the frame out"
        )
    label = read_label_of(manifest, clip, frame)
    path = manifest.path(frame.instances or "")
    if numbers.shape != label.shape:
        raise InputError(
            f"{path}: is {numbers.shape[0]}x{numbers.shape[1]} px (HxW), its frame "
            f"{clip.height_px}x{clip.width_px}; an instance file needs the size of its frame"
        )
    wanted = list(manifest.classes.instance_classes)
    there = (numbers >= FIRST_INSTANCE) & (label != IGNORE)
    values, classes = _objects(numbers, label, there)
    chosen = np.isin(classes, wanted)
    values, classes = values[chosen], classes[chosen]
    needed = len(values) * label.size
    if len(values) > MOST_OBJECTS or needed > MASK_BYTES:
        raise InputError(
            f"{path}: numbers {len(values)} objects, whose masks take {count_bytes(needed)}; at most "
            f"{MOST_OBJECTS} and {count_bytes(MASK_BYTES)} are read; correct the file, or make "
            "frames smaller (data.shrink)"
        )
    masks = (numbers == values[:, None, None]) & there
    free = ~masks.any(0)
    groups = {class_id: free & (label == class_id) for class_id in wanted}
    groups = {class_id: group for class_id, group in groups.items() if group.any()}
    return TrueInstances(
        masks,
        classes,
        values,
        label,
        np.array([*groups.values()], bool).reshape(-1, *label.shape),
        np.array([*groups], np.int64),
        max(1, scaled_min_pixels(min_pixels, min_pixels_at, clip.size)),
    )


def _objects(numbers: np.ndarray, label: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V,) numbers in rising order, and (V,) the class that most pixels of each have."""
    mine = numbers[there]
    values = np.unique(mine).astype(np.int64)
    place = np.searchsorted(values, mine) * 256 + label[there]
    votes = np.bincount(place, minlength=256 * len(values)).reshape(-1, 256)
    return values, votes.argmax(1).astype(np.int64)
