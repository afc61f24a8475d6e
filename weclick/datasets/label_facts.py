"""What label and instance files hold, as far as it tells whether they are meant as they are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from weclick.common.errors import InputError
from weclick.common.progress import progress_bar
from weclick.datasets.base import Dataset
from weclick.manifest import IGNORE, Clip, Frame, Manifest
from weclick.manifest.addresses import address_of
from weclick.manifest.frame_size import frame_size
from weclick.manifest.images import read_ids
from weclick.manifest.read import read_instances, read_label

FIRST_INSTANCE = 1000
"""Values of an instance map from here on are objects, as the clicks stage takes them."""

LINES = 64
"""So many rows and columns of a label are searched for ramps."""


FEW = 16
"""Starting threads and a progress bar takes longer than to read so many labels."""


@dataclass(frozen=True)
class LabelFacts:
    """One label file, with the instance file beside it.

    Attributes:
        clip: id.
        file: path of the label.
        counts: (K,) px of each class.
        ignored: px of the value IGNORE.
        fault: why it cannot be used; empty if it can.
        palette: its first K colours; empty if it has none.
        jumps: how often neighbouring pixels differ by two ids or more.
        ramps: (256,) how often each value stands between a smaller and a larger one.
        instances: what is wrong with the instance file; empty if nothing is.
        objects: whether an object is numbered in the instance file, if it is read at all; None if there is
            no such file.
    """

    clip: str
    file: str
    counts: np.ndarray
    ignored: int = 0
    fault: str = ""
    palette: tuple[tuple[int, int, int], ...] = ()
    jumps: int = 0
    ramps: np.ndarray | None = None
    instances: str = ""
    objects: bool | None = None


def label_facts(dataset: Dataset, split: str, frames: Sequence[tuple[Clip, Frame]]) -> list[LabelFacts]:
    """Look at the labels of some frames of a split, several at once if they are many."""
    manifest = Manifest(dataset.name, str(dataset.root), split, 0, 1, dataset.classes, ())
    if len(frames) <= FEW:
        return [_look(manifest, *item) for item in frames]
    with (
        progress_bar(f"labels of {split}", len(frames), "labels") as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):

        def look(item: tuple[Clip, Frame]) -> LabelFacts:
            bar.advance()
            return _look(manifest, *item)

        return list(pool.map(look, frames))


def _look(manifest: Manifest, clip: Clip, frame: Frame) -> LabelFacts:
    path = manifest.path(frame.label or "")
    nothing = np.zeros(manifest.num_classes, np.int64)
    try:
        listed = address_of(frame.label or "") is not None
        plain = not listed and "masks" not in (manifest.classes.label_map or {})
        values = read_ids(path) if plain else None
        counts = None if values is None else _counts_of_ids(values, manifest)
        classes = read_label(manifest, frame) if values is None or counts is None else values
        values = classes if values is None or values.ndim != 2 else values
        instances = read_instances(manifest, frame) if manifest.classes.instance_classes else None
        if fault := _size_fault(manifest, frame, classes, instances):
            return LabelFacts(clip.id, str(path), nothing, fault=fault)
        palette = None if listed else _palette(path)
    except (OSError, ValueError) as error:
        return LabelFacts(clip.id, str(path), nothing, fault=str(error))
    if counts is None:
        counts = np.bincount(classes.ravel(), minlength=256)
    colors = np.array(palette or [], np.int64).reshape(-1, 3)[: manifest.num_classes]
    jumps, ramps = _ramps(values)
    strange = "" if instances is None else _strange_instances(manifest, frame, classes, instances, values)
    return LabelFacts(
        clip=clip.id,
        file=str(path),
        counts=counts[: manifest.num_classes],
        ignored=int(counts[IGNORE]),
        palette=tuple((int(r), int(g), int(b)) for r, g, b in colors),
        jumps=jumps,
        ramps=ramps,
        instances=strange,
        objects=None if frame.instances is None else _numbers_any(instances),
    )


def _palette(path: Path) -> list[int] | None:
    with Image.open(path) as image:
        return image.getpalette() if image.mode == "P" else None


def _values_in(array: np.ndarray) -> set[int]:
    """As a set of whole numbers; counted, which is faster than to sort them."""
    if array.size == 0 or array.min() < 0 or array.max() > 0xFFFF:
        return set(np.unique(array).tolist())
    return set(np.flatnonzero(np.bincount(array)).tolist())


def _numbers_any(instances: np.ndarray | None) -> bool:
    return instances is not None and bool((instances >= FIRST_INSTANCE).any())


def _size_fault(manifest: Manifest, frame: Frame, classes: np.ndarray, instances: np.ndarray | None) -> str:
    """Why label and instance file do not fit on their frame; empty if they do."""
    try:
        wanted = frame_size(manifest.path(frame.image))
    except InputError:  # whoever reads the frame tells what is wrong with it
        return ""
    for array, name in ((classes, frame.label), (instances, frame.instances)):
        if array is not None and array.shape != wanted:
            return (
                f"{manifest.path(name or '')}: is {array.shape[0]}x{array.shape[1]} px (HxW), its frame "
                f"{wanted[0]}x{wanted[1]}; a label needs the size of its frame"
            )
    return ""


def _counts_of_ids(values: np.ndarray, manifest: Manifest) -> np.ndarray | None:
    """(256,) px of each value of a file, if its values are class ids as they are; else None."""
    if manifest.classes.label_map is not None or values.ndim != 2 or values.dtype != np.uint8:
        return None
    counts = np.bincount(values.ravel(), minlength=256)
    return None if counts[manifest.num_classes : IGNORE].any() else counts


def _ramps(values: np.ndarray) -> tuple[int, np.ndarray]:
    """Steps of two ids or more between neighbours, and per value how often it stands in the middle of one.

    Ids name classes and have no order. So a map that was labelled jumps from one id to another, while one
    that was smoothed or resized by interpolation steps through the ids between.
    """
    jumps, ramps = 0, np.zeros(256, np.int64)
    for lines in (values[:: max(1, len(values) // LINES)], values.T[:: max(1, values.shape[1] // LINES)]):
        line = lines.astype(np.int16)
        known = line != IGNORE
        jumps += int(((abs(line[:, 1:] - line[:, :-1]) > 1) & known[:, 1:] & known[:, :-1]).sum())
        before, middle, after = line[:, :-2], line[:, 1:-1], line[:, 2:]
        between = ((before < middle) & (middle < after)) | ((before > middle) & (middle > after))
        between &= known[:, :-2] & known[:, 2:]
        ramps += np.bincount(np.clip(middle[between], 0, 255), minlength=256)
    return jumps, ramps


def _strange_instances(
    manifest: Manifest, frame: Frame, classes: np.ndarray, instances: np.ndarray, values: np.ndarray
) -> str:
    """Classes whose objects the file numbers below FIRST_INSTANCE, where they tell nothing apart.

    Cityscapes marks groups by the label's own value, so that is no number.
    """
    path = manifest.path(frame.instances or "")
    for class_id in manifest.classes.instance_classes:
        here = classes == class_id
        numbers = _values_in(instances[here])
        strange = sorted(numbers - _values_in(values[here]) - {0})
        if strange and max(numbers) < FIRST_INSTANCE:
            first = class_id * FIRST_INSTANCE + 1
            told = ", ".join(str(number) for number in strange[:4])
            wanted = (
                f"{first}, {first + 1}, ..."
                if class_id
                else f"{FIRST_INSTANCE} or more, which the class id 0 cannot have"
            )
            return f"{path}: numbers {manifest.classes.names[class_id]} {told}, expected {wanted}"
    return ""
