"""How good the instances of training frames are where frames have true ones. Nothing is trained by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from weclick.common.errors import InputError
from weclick.common.files import read_lines, write_text
from weclick.common.rle import encode_masks
from weclick.common.strict_json import strict_json
from weclick.evaluate.instances.detecting import only_where
from weclick.evaluate.instances.found import Instances, instances
from weclick.evaluate.instances.precision import MOST, Compared, Judged, area_under, judged
from weclick.evaluate.instances.truth import TrueInstances, has_truth, read_true_instances
from weclick.evaluate.proxy_quality import SUFFIX
from weclick.manifest import Classes, Manifest
from weclick.store import Store
from weclick.store.instance_entries import InstanceEntry


class Rated(NamedTuple):
    """A frame's instances beside its true ones."""

    true: TrueInstances
    found: Instances


def instance_quality(manifest: Manifest, index: Mapping[str, str], store: Store) -> list[dict[str, Any]]:
    """Compare the instances of clips with the true ones of their frames, at the overlap (IoU) .5.

    As in COCO's score, instances take by falling score the best true one that is free, and at most 100 of a
    class count in a frame. Groups and objects that are too small excuse what is found there; pixels whose
    truth nobody knows are taken out of it.

    Args:
        manifest: with true instances of some frames; others are left out.
        index: clip id -> key of its instances.
        store: holds them.

    Returns:
        A row of each class, see `quality_rows`; none if no frame has both.

    Raises:
        InputError: a file cannot be read, or an entry is of other frames.
        DamagedEntryError: an entry is not as it was committed.
    """
    return quality_rows(_frames(manifest, index, store), manifest.classes, manifest.split)


def quality_rows(frames: Iterable[Rated], classes: Classes, split: str) -> list[dict[str, Any]]:
    """The counts of each class, from which `rated` takes the scores of all shards together.

    Args:
        frames: of the split.
        classes: of the data set.
        split: its name.

    Returns:
        For each class with instances, and others that were found, a row of split; class, its name; frames
        that have both; truth, the true objects that are asked for; instances, those found that nothing
        excuses; hits, the true among these; and the last two one by one: scores, falling in each frame, and
        hit, a text of 1 and 0 in the same order. None without a frame.
    """
    parts: dict[int, list[Judged]] = {class_id: [] for class_id in classes.instance_classes}
    count = 0
    for true, answer in frames:
        found, count = only_where(answer, true.known), count + 1
        shown = {*found.classes.tolist(), *true.classes.tolist(), *true.group_classes.tolist()}
        for class_id in shown:
            parts.setdefault(class_id, []).append(judged(_compared(true, found, class_id)))
    return [
        {
            "split": split,
            "class": classes.names[class_id],
            "frames": count,
            "truth": sum(part.truths for part in parts[class_id]),
            "instances": sum(len(part.scores) for part in parts[class_id]),
            "hits": sum(int(part.hits.sum()) for part in parts[class_id]),
            "scores": [float(score) for part in parts[class_id] for score in part.scores],
            "hit": "".join("01"[int(hit)] for part in parts[class_id] for hit in part.hits),
        }
        for class_id in sorted(parts)
        if count
    ]


def rated(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores of each split, from the rows of all its shards.

    Returns:
        For each split: split, frames, truth, instances; AP50, the mean over the classes that are there;
        recall50 and precision50 of all classes together; per_class, name -> truth, instances and the same
        three. In 0..1, None where nothing is divided by.
    """
    return [_rated_split(split, rows) for split in dict.fromkeys(row["split"] for row in rows)]


def write_instance_quality(index: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows beside the index of the entries, in `<shard>.quality.jsonl`; without any, no file stays."""
    path, lines = index.with_suffix(SUFFIX), [f"{strict_json(row)}\n" for row in rows]
    if lines:
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def read_instance_quality(indexes: Iterable[Path]) -> list[dict[str, Any]]:
    """The quality of all shards together, as `rated` gives it; none if no shard has any.

    Args:
        indexes: of the entries; what lies beside them is read.

    Raises:
        InputError: a file is not as `write_instance_quality` writes it.
    """
    beside = [path for path in (index.with_suffix(SUFFIX) for index in indexes) if path.is_file()]
    return rated([row for path in beside for row in _rows(path)])


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = read_lines(path, "instances", f"instance_{SUFFIX[1:]}")
    for row in rows:
        told = len(row["scores"]), len(row["hit"]), row["hit"].count("1")
        if told != (row["instances"], row["instances"], row["hits"]):
            raise InputError(
                f"{path}: of {row['class']} it says {row['instances']} instances and {row['hits']} hits, but "
                f"lists {told[0]} scores and {told[1]} marks, {told[2]} of them hits; run the instances "
                "stage again"
            )
    return rows


def _frames(manifest: Manifest, index: Mapping[str, str], store: Store) -> Iterator[Rated]:
    for clip in manifest.clips:
        known = [t for t, frame in enumerate(clip.frames) if has_truth(frame)]
        if clip.id in index and known:
            entry = InstanceEntry(store.get("instances", index[clip.id]), clip.size)
            if entry.classes != manifest.classes.names:
                raise InputError(
                    f"the instances of clip {clip.id!r} are of the classes {', '.join(entry.classes)}, but "
                    f"the data set has {', '.join(manifest.classes.names)}; run the instances stage again"
                )
            there = set(entry.digests)
            for t in known:
                if clip.frames[t].digest in there:
                    found = instances(entry.of(clip.frames[t].digest), clip.frames[t].name, clip.size)
                    yield Rated(read_true_instances(manifest, clip, t), found)


def _compared(true: TrueInstances, found: Instances, class_id: int) -> Compared:
    """What a frame has of one class."""
    mine, ours, group = (classes == class_id for classes in (found.classes, true.classes, true.group_classes))
    best = np.flatnonzero(mine)[np.argsort(-found.scores[mine], kind="stable")][: MOST[-1]]
    shown, there = found.masks[best], np.concatenate([true.masks[ours], true.groups[group]])
    crowd = np.concatenate([true.small[ours], np.ones(int(group.sum()), bool)])
    overlaps = np.zeros((len(shown), len(there)))
    if overlaps.size:
        overlaps = coco_mask.iou(encode_masks(shown), encode_masks(there), crowd.astype(int).tolist())
    return Compared(overlaps, found.scores[best], shown.sum((1, 2)), there.sum((1, 2)), crowd)


def _rated_split(split: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [row for row in rows if row["split"] == split]
    per_class = {
        name: _scores([row for row in mine if row["class"] == name])
        for name in dict.fromkeys(row["class"] for row in mine)
    }
    known = [of["AP50"] for of in per_class.values() if of["AP50"] is not None]
    frames = [sum(row["frames"] for row in mine if row["class"] == name) for name in per_class]
    return {
        "split": split,
        "frames": max(frames),
        **_scores(mine),
        "AP50": float(np.mean(known)) if known else None,
        "per_class": per_class,
    }


def _scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts and scores of rows; AP50 is right for those of one class."""
    truth, found, hits = (sum(row[name] for row in rows) for name in ("truth", "instances", "hits"))
    parts = [
        Judged(
            np.array(row["scores"], float), np.array([each == "1" for each in row["hit"]], bool), row["truth"]
        )
        for row in rows
    ]
    under = area_under(parts)
    return {
        "truth": truth,
        "instances": found,
        "AP50": None if np.isnan(under) else under,
        "recall50": hits / truth if truth else None,
        "precision50": hits / found if found else None,
    }
