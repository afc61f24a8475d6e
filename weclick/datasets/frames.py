"""The `frames` stage: it decodes every frame once, into chunks, so that a crop reads only its own part.

If disk space is short, frames can stay in their files. Training then decodes them again for every sample.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from weclick.common.errors import InputError
from weclick.common.progress import Bar
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.store import Store, entry_key
from weclick.store.fill import fill
from weclick.store.older import Held, Older

FORMAT_VERSION = 1
CODEC = "lz4"


def pack_frames(
    manifest: Manifest, *, chunk_px: int, store: Store, codec: str = CODEC, pack: bool = True
) -> dict[str, str]:
    """Make sure that the store holds the frames of every clip. Those that older entries hold are taken over.

    Args:
        manifest: one shard of a split.
        chunk_px: side of a chunk, the unit of reading.
        store: its entries are not made again.
        codec: of the chunks, one of store.entries.COMPRESSORS.
        pack: False makes no entries, see `unpacked_key`.

    Returns:
        Clip id -> key of its entry: array `rgb` (T, H, W, 3) uint8.

    Raises:
        ValueError: a frame is missing, unreadable, or of another size than its clip. Or `pack` is False and
            the clip is a video file, from which single frames cannot be read fast.
    """
    if not pack:
        return {clip.id: _unpacked(clip) for clip in manifest.clips}
    asked = {clip.id: frames_inputs(clip, chunk_px, codec) for clip in manifest.clips}
    keys = {clip: entry_key("frames", inputs) for clip, inputs in asked.items()}
    older = Older(store, "frames", "frames", asked.values())

    def pack_some(clips: Iterator[Clip], bar: Bar) -> None:
        for clip in clips:
            _pack_clip(manifest, clip, asked[clip.id], store, older.of(asked[clip.id]))
            bar.advance(len(clip.frames))

    fill(
        store,
        "frames",
        manifest.clips,
        pack_some,
        key=lambda clip: keys[clip.id],
        size=lambda clip: len(clip.frames),
        what="frames",
        unit="frames",
        threads=os.cpu_count() or 1,
    )
    return keys


def frames_key(clip: Clip, chunk_px: int, codec: str = CODEC) -> str:
    """The key under which the store holds the frames of a clip."""
    return entry_key("frames", frames_inputs(clip, chunk_px, codec))


def unpacked_key(clip: Clip) -> str:
    """The key in an index for frames that stay in their files. It depends on content alone."""
    return entry_key("frames", {"frames": [frame.digest for frame in clip.frames], "codec": "files"})


def _unpacked(clip: Clip) -> str:
    if clip.frames[0].video_frame is not None:
        raise InputError(
            f"{clip.frames[0].image}: clip {clip.id!r} is a video file, and frames.pack is false; single "
            "frames of a video cannot be read fast enough to train: set frames.pack: true"
        )
    return unpacked_key(clip)


def frames_inputs(clip: Clip, chunk_px: int, codec: str = CODEC) -> Mapping[str, Any]:
    """What the frames of a clip are made from. Their key is its digest."""
    return {
        "format": FORMAT_VERSION,
        "frames": [frame.digest for frame in clip.frames],
        "chunk_px": chunk_px,
        "codec": codec,
    }


def _pack_clip(
    manifest: Manifest, clip: Clip, inputs: Mapping[str, Any], store: Store, held: Mapping[int, Held]
) -> None:
    chunk_px = inputs["chunk_px"]
    with store.create("frames", inputs) as entry:
        rgb = entry.create_array(
            "rgb",
            shape=(len(clip.frames), *clip.size, 3),
            chunks=(1, chunk_px, chunk_px, 3),
            dtype="uint8",
            axes="THWC",
            codec=inputs["codec"],
        )
        for t, older in held.items():
            older.copy({"rgb": rgb}, t)
        fresh = [t for t in range(len(clip.frames)) if t not in held]
        images = read_clip(manifest, clip.restrict(fresh)) if fresh else ()
        for t, image in zip(fresh, images, strict=True):
            rgb[t] = image
        entry.attributes.update(
            {
                "frames": [frame.name for frame in clip.frames],
                "digests": [frame.digest for frame in clip.frames],
                "units": "grey levels 0..255",
                "axes": "THWC",
            }
        )
