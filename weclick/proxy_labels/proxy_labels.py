"""The `proxy_labels` stage: class maps of training frames, in the place of annotation.

An entry holds the class maps of those frames of a clip that get one, whoever made them. See `ProxySource`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from weclick.common.errors import InputError
from weclick.common.progress import Bar
from weclick.manifest import Clip, Manifest
from weclick.proxy_labels.proxy_sources import ProxySource
from weclick.store import Entry, EntryWriter, Store, check_attributes, damaged, entry_key
from weclick.store.fill import fill

FORMAT_VERSION = 1


def make_proxy_labels(
    manifest: Manifest,
    source: ProxySource,
    *,
    chunk_px: int,
    store: Store,
    allow_val: bool = False,
) -> dict[str, str]:
    """Make sure that the store holds the proxy labels of every clip.

    Args:
        manifest: one shard of the training split.
        source: makes them; asked only if a clip is missing.
        chunk_px: side of a chunk, the unit of reading.
        store: its entries are not made again.
        allow_val: whether clips with scored frames may have such labels.

    Returns:
        Clip id -> key of its entry: array `classes` (N, H, W) uint8, 255 ignored, of the N frames that the
        attributes name. N may be 0, and then there is no array.

    Raises:
        InputError: a clip has scored frames, or as the source says.
    """
    check_split(manifest, allow_val=allow_val)
    names = manifest.classes.names
    asked = {clip.id: proxy_labels_inputs(clip, names, source, chunk_px) for clip in manifest.clips}

    def make_some(clips: Iterator[Clip], bar: Bar) -> None:
        for clip in clips:
            labels = source.make(clip)
            with store.create("proxy_labels", asked[clip.id]) as entry:
                write_class_maps(entry, manifest, clip, labels, source=source.name, chunk_px=chunk_px)
            bar.advance()

    fill(
        store,
        "proxy_labels",
        manifest.clips,
        make_some,
        key=lambda clip: entry_key("proxy_labels", asked[clip.id]),
        size=lambda clip: 1,
        what="proxy labels",
        unit="clips",
    )
    return {clip: entry_key("proxy_labels", inputs) for clip, inputs in asked.items()}


def check_split(manifest: Manifest, *, allow_val: bool, what: str = "proxy labels") -> None:
    """Refuse clips whose frames are scored: such labels are made with tags, which no test may use.

    Args:
        manifest: one shard of a split.
        allow_val: whether scored frames may have such labels.
        what: would be made, for the error.

    Raises:
        InputError: a clip has scored frames, and nobody allowed it.
    """
    scored = [clip.id for clip in manifest.clips if clip.scored]
    if scored and not allow_val:
        raise InputError(
            f"{len(scored)} clips of the split {manifest.split!r} have frames that are scored, e.g. "
            f"{scored[0]!r}; {what} are made of the training split, since they use tags: give its "
            "manifest, or add --allow-val if nothing will be scored on these clips"
        )


def proxy_labels_inputs(
    clip: Clip, classes: Sequence[str], source: ProxySource, chunk_px: int
) -> Mapping[str, Any]:
    """What the proxy labels of a clip are made from. Their key is its digest.

    Args:
        clip: with the digests of its frames.
        classes: names of the data set's classes.
        source: makes the labels.
        chunk_px: side of a chunk.
    """
    return {
        "format": FORMAT_VERSION,
        "frames": [frame.digest for frame in clip.frames],
        "classes": list(classes),
        "source": source.name,
        **source.key_inputs(clip),
        "chunk_px": chunk_px,
    }


def read_proxy_labels(entry: Entry, clip: Clip) -> Iterator[tuple[int, np.ndarray]]:
    """The labels of a clip's entry.

    Args:
        entry: of the kind "proxy_labels" or "confident_labels".
        clip: of a manifest. Frames are matched by content.

    Yields:
        Position in `clip.frames`, and (H, W) uint8 class ids, 255 ignored.

    Raises:
        DamagedEntryError: the entry is not as it was committed, or its parts do not fit each other.
        InputError: it is of other frames.
    """
    check_attributes(entry)
    digests, position = entry.attributes["digests"], {frame.digest: t for t, frame in enumerate(clip.frames)}
    if not digests:
        return
    array = entry.array("classes")
    if array.shape != (len(digests), *clip.size):
        raise damaged(entry.path, f"classes is of shape {array.shape}, expected {(len(digests), *clip.size)}")
    for n, digest in enumerate(digests):
        if digest not in position:
            raise InputError(
                f"{entry.path}: holds the label of a frame that clip {clip.id!r} has not; the index belongs "
                f"to another manifest: run the {entry.meta['kind']} stage again"
            )
        yield position[digest], array[n]


def write_class_maps(
    entry: EntryWriter,
    manifest: Manifest,
    clip: Clip,
    labels: Sequence[tuple[int, np.ndarray]],
    *,
    source: str,
    chunk_px: int,
) -> None:
    """Put class maps of a clip's frames into a new entry, and say in its attributes what they are.

    Args:
        entry: of the kind "proxy_labels" or "confident_labels".
        manifest: of the clip; its classes are those of the maps.
        clip: of a manifest.
        labels: position in `clip.frames`, and (H, W) uint8 class ids, 255 ignored. May be empty.
        source: what made them.
        chunk_px: side of a chunk, the unit of reading.
    """
    if labels:
        classes = entry.create_array(
            "classes",
            shape=(len(labels), *clip.size),
            chunks=(1, chunk_px, chunk_px),
            dtype="uint8",
            axes="NHW",
            codec="zstd_bytes",
        )
        for n, (_, label) in enumerate(labels):
            classes[n] = label
    frames = [clip.frames[t] for t, _ in labels]
    entry.attributes.update(
        {
            "frames": [frame.name for frame in frames],
            "digests": [frame.digest for frame in frames],
            "classes": list(manifest.classes.names),
            "source": source,
            "units": "class ids; 255: ignored",
            "axes": "NHW",
        }
    )
