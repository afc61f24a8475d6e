"""The `frames` stage: decode every frame once, into chunks that a training crop reads by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from weclick.manifest import Clip, Manifest
from weclick.media import read_clip
from weclick.progress import progress_bar
from weclick.store import Store, entry_key

FORMAT_VERSION = 1


def pack_frames(manifest: Manifest, *, chunk_px: int, store: Store) -> dict[str, str]:
    """Make sure that the store holds the frames of every clip.

    Args:
        manifest: one shard of a split.
        chunk_px: side of a chunk, the unit of reading.
        store: entries that it has are not made again.

    Returns:
        Clip id -> key of its entry: array `rgb` (T, H, W, 3) uint8.

    Raises:
        ValueError: a frame is missing, unreadable, or of another size than its clip.
    """
    keys = {clip.id: frames_key(clip, chunk_px) for clip in manifest.clips}
    missing = [clip for clip in manifest.clips if store.find("frames", keys[clip.id]) is None]
    with (
        progress_bar("frames", sum(len(clip.frames) for clip in missing), "frames") as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):

        def pack(clip: Clip) -> None:
            _pack_clip(manifest, clip, chunk_px, store)
            bar.advance(len(clip.frames))

        list(pool.map(pack, missing))
    return keys


def frames_key(clip: Clip, chunk_px: int) -> str:
    """The key under which the store holds the frames of a clip."""
    return entry_key("frames", _inputs(clip, chunk_px))


def _inputs(clip: Clip, chunk_px: int) -> Mapping[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "frames": [frame.digest for frame in clip.frames],
        "chunk_px": chunk_px,
        "codec": "blosc-lz4-bitshuffle",
    }


def _pack_clip(manifest: Manifest, clip: Clip, chunk_px: int, store: Store) -> None:
    with store.create("frames", _inputs(clip, chunk_px)) as entry:
        rgb = entry.create_array(
            "rgb",
            shape=(len(clip.frames), *clip.size, 3),
            chunks=(1, chunk_px, chunk_px, 3),
            dtype="uint8",
            axes="THWC",
        )
        for t, image in enumerate(read_clip(manifest, clip)):
            rgb[t] = image
        entry.attributes.update(
            {
                "frames": [frame.name for frame in clip.frames],
                "digests": [frame.digest for frame in clip.frames],
                "units": "grey levels 0..255",
                "axes": "THWC",
            }
        )
