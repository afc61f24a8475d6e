"""The `masks` stage: it decodes labels of target frames once, into class maps that training reads by crops.

An entry holds class maps by the frames that they belong to, whoever made them. So another method that makes
class maps may fill entries of this kind, and training reads them in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weclick.common.progress import Bar
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.object_masks import class_of_mask
from weclick.manifest.read import read_label_of
from weclick.store import Store, entry_key
from weclick.store.fill import fill

FORMAT_VERSION = 1


def pack_masks(manifest: Manifest, *, chunk_px: int, store: Store) -> dict[str, str]:
    """Make sure that the store holds the class maps of every clip's labelled targets.

    Args:
        manifest: one shard of the training split.
        chunk_px: side of a chunk, the unit of reading.
        store: its entries are not made again.

    Returns:
        Clip id -> key of its entry: array `classes` (T, H, W) uint8, 255 ignored. Clips without a labelled
        target are left out.

    Raises:
        InputError: a label is missing, malformed, changed since the manifest was made, or of another size
            than its clip.
    """
    clips = [cut for clip in manifest.clips if (cut := labelled_targets(clip)).frames]
    keys = {clip.id: masks_key(clip, manifest.classes, chunk_px) for clip in clips}

    def pack_some(clips: Iterator[Clip], bar: Bar) -> None:
        for clip in clips:
            _pack_clip(manifest, clip, chunk_px, store)
            bar.advance(len(clip.frames))

    fill(
        store,
        "masks",
        clips,
        pack_some,
        key=lambda clip: keys[clip.id],
        size=lambda clip: len(clip.frames),
        what="masks",
        unit="frames",
        threads=os.cpu_count() or 1,
    )
    return keys


def labelled_targets(clip: Clip) -> Clip:
    """The clip with its labelled targets alone."""
    return clip.restrict(target for target in clip.targets if clip.frames[target].label)


def masks_key(clip: Clip, classes: Classes, chunk_px: int) -> str:
    """The key under which the store holds the class maps of a clip."""
    return entry_key("masks", masks_inputs(clip, classes, chunk_px))


def masks_inputs(clip: Clip, classes: Classes, chunk_px: int) -> Mapping[str, Any]:
    """What the class maps of a clip's labelled targets are made from. Their key is its digest.

    Args:
        clip: of a manifest; the digests of its frames tell how much labels are shrunk.
        classes: of that manifest; they tell which stored values stand for which class.
        chunk_px: side of a chunk.
    """
    frames = labelled_targets(clip).frames
    return {
        "format": FORMAT_VERSION,
        "frames": [frame.digest for frame in frames],
        "labels": [frame.label_digest for frame in frames],
        "classes": told_by_files(frames, classes),
        "chunk_px": chunk_px,
    }


def told_by_files(frames: Sequence[Frame], classes: Classes) -> Any:
    """What turns the values of labels into class ids: one rule for all, or for masks the class of each."""
    masks = (classes.label_map or {}).get("masks")
    if masks:  # by class, since a path is no part of a key
        return {"masks": [class_of_mask(frame.label or "", masks) for frame in frames]}
    return classes.label_map or [list(color) for color in classes.palette]


def _pack_clip(manifest: Manifest, clip: Clip, chunk_px: int, store: Store) -> None:
    with store.create("masks", masks_inputs(clip, manifest.classes, chunk_px)) as entry:
        classes = entry.create_array(
            "classes",
            shape=(len(clip.frames), *clip.size),
            chunks=(1, chunk_px, chunk_px),
            dtype="uint8",
            axes="THW",
            codec="zstd_bytes",
        )
        for t, frame in enumerate(clip.frames):
            classes[t] = read_label_of(manifest, clip, frame)
        entry.attributes.update(
            {
                "frames": [frame.name for frame in clip.frames],
                "classes": list(manifest.classes.names),
                "units": "class ids; 255: ignored",
                "axes": "THW",
            }
        )
