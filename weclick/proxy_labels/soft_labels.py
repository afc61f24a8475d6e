"""The `soft_labels` stage: it stores the probabilities of the classes on every frame, on a coarse grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from weclick.common.progress import Bar
from weclick.manifest import Clip, Manifest
from weclick.proxy_labels.fusion import Fuse
from weclick.proxy_labels.sources import Labeller, Source
from weclick.proxy_labels.teachers import Teachers
from weclick.store import SOFT_LABEL_CODECS, EntryWriter, Store, entry_key
from weclick.store.fill import fill

FORMAT_VERSION = 2
CODEC = "root6"
"""The best measured trade of size and error, see docs/streaming.md."""


def compute_soft_labels(
    manifest: Manifest,
    source: Source | Path,
    *,
    chunk_px: int,
    store: Store,
    codec: str = CODEC,
    device: str = "cpu",
    fuse: Fuse | None = None,
) -> dict[str, str]:
    """Make sure that the store holds the soft labels of every clip.

    Args:
        manifest: one shard of the training split.
        source: makes them; or one teacher, its model.safetensors. Loaded only if a clip is missing.
        chunk_px: side of a chunk on their grid.
        store: its entries are not made again.
        codec: one of SOFT_LABEL_CODECS.
        device: where networks run.
        fuse: how labels of targets are averaged with those of their neighbours; None for not at all.

    Returns:
        Clip id -> key of its entry: array `probabilities` (T, C, h, w) as the codec stores them.

    Raises:
        InputError: source and manifest have different classes, or as the source says.
    """
    made_by = Teachers.of([source]) if isinstance(source, Path) else source
    fused = {clip.id: fuse.key_inputs(clip) if fuse else {} for clip in manifest.clips}

    def inputs_of(clip: Clip) -> Mapping[str, Any]:
        made_from = {**made_by.key_inputs(clip), **fused[clip.id]}
        return soft_labels_inputs(clip, made_from, chunk_px, codec)

    asked = {clip.id: inputs_of(clip) for clip in manifest.clips}
    keys = {clip: entry_key("soft_labels", inputs) for clip, inputs in asked.items()}

    @cache
    def load() -> Labeller:
        return made_by.load(manifest, device)

    def label_some(clips: Iterator[Clip], bar: Bar) -> None:
        label = load()
        for clip in clips:
            with store.create("soft_labels", asked[clip.id]) as entry:
                array, along = None, fuse.of(clip) if fuse else None
                labels = along(label(clip), label.stride_px, device) if along else enumerate(label(clip))
                for t, probabilities in labels:
                    stored = SOFT_LABEL_CODECS[codec].encode(probabilities)
                    array = _allocate(entry, len(clip.frames), stored, chunk_px) if array is None else array
                    array[t] = stored
                    bar.advance()
                told = {**made_by.attributes(), **fused[clip.id]}
                entry.attributes.update(_attributes(clip, told, label.stride_px, manifest, codec))

    fill(
        store,
        "soft_labels",
        manifest.clips,
        label_some,
        key=lambda clip: keys[clip.id],
        size=lambda clip: len(clip.frames),
        what="soft labels",
        unit="frames",
    )
    return keys


def soft_labels_inputs(
    clip: Clip, made_from: Mapping[str, Any], chunk_px: int, codec: str = CODEC
) -> Mapping[str, Any]:
    """What the soft labels of a clip are made from. Their key is its digest.

    Args:
        clip: with the digests of its frames.
        made_from: `key_inputs` of their source, and `fused_along`.
        chunk_px, codec: how they are stored.
    """
    return {
        "format": FORMAT_VERSION,
        "frames": [frame.digest for frame in clip.frames],
        **made_from,
        "codec": codec,
        "chunk_px": chunk_px,
    }


def _allocate(entry: EntryWriter, frames: int, first: np.ndarray, chunk_px: int) -> Any:
    """The empty array of an entry; `first` is the stored form of its first frame, (C, h, w)."""
    return entry.create_array(
        "probabilities",
        shape=(frames, *first.shape),
        chunks=(1, first.shape[0], chunk_px, chunk_px),
        dtype=first.dtype,
        axes="TCHW",
        codec="zstd_bytes" if first.itemsize == 1 else "zstd",
    )


def _attributes(
    clip: Clip, made_from: Mapping[str, Any], stride_px: int, manifest: Manifest, codec: str
) -> dict[str, Any]:
    return {
        "frames": [frame.name for frame in clip.frames],
        "stride_px": stride_px,
        "codec": codec,
        **made_from,
        "classes": list(manifest.classes.names),
        "axes": "TCHW",
    }
