"""Where tags come from: labels, a table, folders of classes, or annotation files. One function each.

Each gives (clip id, frame name, or empty for the whole clip) -> ids of the classes that occur.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from weclick.clicks.class_names import class_id_of
from weclick.clicks.components import FIRST_INSTANCE, scaled_min_pixels
from weclick.clicks.voc_objects import voc_objects
from weclick.common.errors import InputError
from weclick.common.progress import progress_bar
from weclick.common.sections import TagsSection
from weclick.manifest import IGNORE, Clip, Frame, Manifest
from weclick.manifest.read import read_instances, read_label_of
from weclick.manifest.tag_file import placed_tags, tag_file
from weclick.manifest.tag_table import Place
from weclick.manifest.voc_files import voc_files

Rows = dict[Place, frozenset[int]]


def tags_of_labels(manifest: Manifest, options: TagsSection) -> Rows:
    """The classes in the label of each labelled frame, target or not; in its instances where it has no label.

    A class counts from `min_pixels` on, scaled by area from `min_pixels_at` to the frame, and at least 1.

    Raises:
        InputError: a label cannot be read.
    """
    listed = [(c, f) for c in manifest.clips for f in c.frames if f.label or f.instances]
    with progress_bar("tags", len(listed), "frames") as bar, ThreadPoolExecutor(os.cpu_count()) as pool:

        def tag(at: tuple[Clip, Frame]) -> frozenset[int]:
            clip, frame = at
            least = scaled_min_pixels(options["min_pixels"], options["min_pixels_at"], clip.size)
            counts = _counts(manifest, clip, frame)
            bar.advance()
            return frozenset(np.flatnonzero(counts >= max(1, least)).tolist())

        made = list(pool.map(tag, listed))
    return {(clip.id, frame.name): ids for (clip, frame), ids in zip(listed, made, strict=True)}


def tags_of_file(manifest: Manifest, options: TagsSection) -> Rows:
    """The rows of a table. Those of clips that are not in the manifest belong to another split.

    Raises:
        MissingFileError, InputError: as in `placed_tags`, or a class is unknown.
    """
    find = _finder(manifest)
    rows: dict[Place, set[int]] = {}
    for row, clip, position in placed_tags(_table(manifest, options), manifest.clips, all_clips=False):
        frame = "" if position is None else clip.frames[position].name
        rows.setdefault((clip.id, frame), set()).add(find(row.class_name, row.where))
    return {place: frozenset(ids) for place, ids in rows.items()}


def tags_of_folders(manifest: Manifest, options: TagsSection) -> Rows:
    """Each clip's one tag: the class whose folder it lies in, with which people searched for it.

    Raises:
        InputError: a clip lies in no such folder, or the folder has not the name of a class.
    """
    find = _finder(manifest)
    rows: Rows = {}
    for clip in manifest.clips:
        name, slash, _ = clip.id.partition("/")
        if not slash:
            raise InputError(
                f"{manifest.root}: clip {clip.id!r} lies in no folder of a class, but tags.source is "
                "'folders'; put it into frames/<class>/<clip>/ or videos/<class>/"
            )
        rows[clip.id, ""] = frozenset([find(name, f"{manifest.root}, the folder of clip {clip.id!r}")])
    return rows


def tags_of_voc(manifest: Manifest, options: TagsSection) -> Rows:
    """The objects that the annotation file of a frame names.

    Raises:
        MissingFileError, InputError: as in `voc_files` and `voc_objects`, or a class is unknown.
    """
    find = _finder(manifest)
    files = voc_files(Path(manifest.root), manifest.clips)
    return {
        place: frozenset(find(name, where) for where, name in voc_objects(path))
        for place, path in files.items()
    }


def _counts(manifest: Manifest, clip: Clip, frame: Frame) -> np.ndarray:
    """(K,) pixels of each class in the label of a frame, or else in its instances."""
    if frame.label:
        ids = read_label_of(manifest, clip, frame)
        return np.bincount(ids[ids != IGNORE].ravel(), minlength=manifest.num_classes)
    instances = read_instances(manifest, frame)
    assert instances is not None, "a frame without label is only listed with instances"
    values, pixels = np.unique(instances[instances >= FIRST_INSTANCE] // 1000, return_counts=True)
    counts = np.zeros(manifest.num_classes, np.int64)
    for value, count in zip(values.tolist(), pixels.tolist(), strict=True):
        class_id = _class_of_instances(manifest, value)
        if class_id is None:
            raise InputError(
                f"{manifest.path(frame.instances or '')}: holds objects of class {value}, expected ids "
                f"0..{manifest.num_classes - 1}, as class id * 1000 + number; correct the file"
            )
        if class_id != IGNORE:
            counts[class_id] += count
    return counts


def _class_of_instances(manifest: Manifest, value: int) -> int | None:
    """The class id of the thousands of an instance map; None if there is no such class."""
    told = (manifest.classes.label_map or {}).get("ids")
    if told is not None:
        return told.get(str(value))
    return value if value < manifest.num_classes else None


def _table(manifest: Manifest, options: TagsSection) -> Path:
    return tag_file(options["file"], Path(manifest.root))


def _finder(manifest: Manifest) -> Callable[[str, str], int]:
    """Finds the class of a name; names the place where it stood if there is none."""

    known: dict[str, int] = {}

    def find(name: str, where: str) -> int:
        if name not in known:
            known[name] = class_id_of(name, manifest.classes.names, where)
        return known[name]

    return find
