"""Frames that are learned from by tags alone: those of training clips that have no label and no click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weclick.common.errors import InputError
from weclick.common.sections import DataSection
from weclick.datasets.base import Dataset, assign_roles
from weclick.manifest import Clip
from weclick.manifest.tag_file import placed_tags, tag_file
from weclick.manifest.voc_files import voc_files


@dataclass(frozen=True)
class _Tagged:
    """What has a tag.

    Attributes:
        clips: ids of the clips that are tagged as a whole.
        frames: (clip id, frame name) of frames with tags of their own.
        told: what names them, for errors.
    """

    clips: frozenset[str]
    frames: frozenset[tuple[str, str]]
    told: str

    def positions(self, clip: Clip) -> list[int]:
        """Positions of the frames of a clip that have tags: their own, or the clip's."""
        whole = clip.id in self.clips
        return [t for t, frame in enumerate(clip.frames) if whole or (clip.id, frame.name) in self.frames]


def with_tagged_targets(dataset: Dataset, data: DataSection, tags: Mapping[str, Any]) -> Dataset:
    """The data set, with targets in those training clips that have tags alone: every n-th of their frames.

    n is `data.target_every`, and frames without a tag are no targets. Nothing changes where tags are made
    from labels, nor for clips with a label or click.

    Args:
        dataset: without such targets.
        data: the section `data`.
        tags: `source` and `file` of the section `tags`.

    Raises:
        MissingFileError, InputError: when clips are listed: the files of tags are missing or malformed, they
            name a clip or frame that is not on disk, or a clip of the training split has no label, no click
            and no tag.
    """
    if tags["source"] == "labels":
        return dataset
    train, val = data.get("train", "train"), data.get("val", "val")
    every = data.get("target_every") or 1

    def clips(split: str) -> tuple[Clip, ...]:
        if split != train:
            return dataset.list_clips(split)
        listed = dataset.list_clips(train)
        scored = dataset.list_clips(val) if val in dataset.splits and val != train else ()
        annotated = {clip.id for clip in (*listed, *scored) if _is_annotated(clip)}
        tagged = _find_tagged(tags, dataset, listed)
        return tuple(
            clip if clip.id in annotated else _with_targets(clip, tagged, every, dataset.root)
            for clip in listed
        )

    return replace(dataset, list_clips=clips, unscored=val if val != train else dataset.unscored)


def _is_annotated(clip: Clip) -> bool:
    return bool(clip.targets or clip.scored) or any(frame.label for frame in clip.frames)


def _find_tagged(tags: Mapping[str, Any], dataset: Dataset, clips: Sequence[Clip]) -> _Tagged:
    """What of the clips of the training split has a tag."""
    root = dataset.root
    if tags["source"] == "folders":
        searched = frozenset(clip.id for clip in clips if "/" in clip.id)
        return _Tagged(searched, frozenset(), "folder of a class")
    if tags["source"] == "voc":
        return _Tagged(frozenset(), frozenset(voc_files(root, clips)), "file in Annotations/")
    everywhere = [clip for split in dataset.splits for clip in dataset.list_clips(split)]
    path = tag_file(tags["file"], root)
    rows = [
        (clip.id, None if position is None else clip.frames[position].name)
        for _, clip, position in placed_tags(path, everywhere, all_clips=True)
    ]
    return _Tagged(
        frozenset(clip for clip, frame in rows if frame is None),
        frozenset((clip, frame) for clip, frame in rows if frame is not None),
        f"row in {path}",
    )


def _with_targets(clip: Clip, tagged: _Tagged, every: int, root: Path) -> Clip:
    found = tagged.positions(clip)
    if not found:
        raise InputError(
            f"{root}: clip {clip.id!r} of the training split has no label, no click and no tag (no "
            f"{tagged.told}); tag it, or take it out of the data set"
        )
    targets = [t for t in found if t % every == 0]
    if not targets:
        raise InputError(
            f"{root}: {len(found)} frames of clip {clip.id!r} have tags, but none of them is one of every "
            f"{every} frames; lower data.target_every"
        )
    return assign_roles(clip, targets, training=True)
