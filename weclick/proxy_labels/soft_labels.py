"""The `soft_labels` stage: it stores the probabilities of the classes on every frame, on a coarse grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from weclick.common.batches import ahead
from weclick.common.devices import Device, settled
from weclick.common.progress import Bar
from weclick.manifest import Clip, Manifest
from weclick.proxy_labels.fuse import Fuse
from weclick.proxy_labels.sources import Labeller, Source
from weclick.proxy_labels.teachers import Teachers
from weclick.store import SOFT_LABEL_CODECS, EntryWriter, Store, entry_key
from weclick.store.fill import fill
from weclick.store.older import Held, Older

FORMAT_VERSION = 2
CODEC = "root6"
"""The best measured trade of size and error, see docs/streaming.md."""

ARRAY = "probabilities"

AHEAD_FRAMES = 4
"""Frames whose labels wait to be written at most."""


@dataclass(frozen=True)
class Job:
    """A clip, the inputs of its entry's key, and the frames that older entries hold, by their positions."""

    clip: Clip
    inputs: Mapping[str, Any]
    held: Mapping[int, Held]

    @property
    def fresh(self) -> list[int]:
        """Positions of the frames that are still to be labelled."""
        return [t for t in range(len(self.clip.frames)) if t not in self.held]


def compute_soft_labels(
    manifest: Manifest,
    source: Source | Path,
    *,
    chunk_px: int,
    store: Store,
    codec: str = CODEC,
    device: Device = "cpu",
    fuse: Fuse | None = None,
) -> dict[str, str]:
    """Make sure that the store holds the soft labels of every clip. What older entries hold is taken over.

    Args:
        manifest: one shard of the training split.
        source: makes them; or one teacher, its model.safetensors. Loaded only if a clip is missing.
        chunk_px: side of a chunk on their grid.
        store: its entries are not made again.
        codec: one of SOFT_LABEL_CODECS.
        device: where networks run. A function is asked for it if a clip is missing.
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

    older = Older(store, "soft_labels", "frames", asked.values())

    @cache
    def load() -> tuple[Labeller, str]:
        where = settled(device)
        return made_by.load(manifest, where), where

    def label_some(clips: Iterator[Clip], bar: Bar) -> None:
        """Write in this thread. One more labels ahead of it, and another one decodes ahead of that."""
        begun: dict[str, Job] = {}

        def to_label() -> Iterator[Clip]:
            """Clips with a frame to label. What older entries hold whole is written at once."""
            for clip in clips:
                job = Job(clip, asked[clip.id], older.of(asked[clip.id]))
                if not job.fresh:
                    write(job, (), job.held[0].entry.attributes["stride_px"], bar)
                    continue
                begun[clip.id] = job
                yield clip if fused[clip.id] else clip.restrict(job.fresh)

        with closing(ahead(label_all(to_label()), AHEAD_FRAMES)) as labelled:
            for clip, first in labelled:
                job, (label, where) = begun.pop(clip.id), load()
                others = islice(labelled, len(clip.frames) - 1)  # no more: an entry waits for no other clip
                labels = chain([first], (probabilities for _, probabilities in others))
                along = fuse.of(job.clip) if fuse else None
                placed = (
                    along(labels, label.stride_px, where) if along else zip(job.fresh, labels, strict=True)
                )
                write(job, placed, label.stride_px, bar)

    def label_all(clips: Iterator[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
        """Loads the source, if there is a clip at all."""
        for first in clips:
            yield from load()[0](chain([first], clips))

    def write(job: Job, labels: Iterable[tuple[int, np.ndarray]], stride_px: int, bar: Bar) -> None:
        with store.create("soft_labels", job.inputs) as entry:
            array = None
            for t, found in job.held.items():
                array = _allocate(entry, job.clip, found.arrays[ARRAY][found.step], chunk_px, array)
                found.copy({ARRAY: array}, t)
                bar.advance()
            for t, probabilities in labels:
                stored = SOFT_LABEL_CODECS[codec].encode(probabilities)
                array = _allocate(entry, job.clip, stored, chunk_px, array)
                array[t] = stored
                bar.advance()
            told = {**made_by.attributes(), **fused[job.clip.id]}
            entry.attributes.update(_attributes(job.clip, told, stride_px, manifest, codec))

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


def _allocate(entry: EntryWriter, clip: Clip, first: np.ndarray, chunk_px: int, array: Any) -> Any:
    """The array of an entry, made if there is none; `first` is the stored form of a frame, (C, h, w)."""
    if array is not None:
        return array
    return entry.create_array(
        ARRAY,
        shape=(len(clip.frames), *first.shape),
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
