"""Manifests for checks: sizes without digests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weclick.datasets import Dataset
from weclick.manifest import Clip, Manifest
from weclick.manifest.frame_size import frame_size
from weclick.manifest.images import shrunk_size


def sized_manifest(dataset: Dataset, split: str, clips: Sequence[Clip]) -> Manifest:
    """A manifest without digests: sizes are read from the first frame of each clip.

    Raises:
        ValueError, OSError: an image cannot be read.
    """
    return Manifest(
        dataset=dataset.name,
        root=str(dataset.root),
        split=split,
        shard=0,
        shards=1,
        classes=dataset.classes,
        clips=tuple(_sized(dataset, clip) for clip in clips),
        click_file=dataset.click_file,
        shrink=dataset.shrink,
    )


def _sized(dataset: Dataset, clip: Clip) -> Clip:
    height, width = shrunk_size(frame_size(dataset.root / clip.frames[0].image), dataset.shrink)
    return replace(clip, height_px=height, width_px=width)
