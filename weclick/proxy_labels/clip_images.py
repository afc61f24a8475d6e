"""The images of clips, decoded ahead of who looks at them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from weclick.common.batches import ahead
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip

AHEAD = 2
"""Batches that are decoded and wait."""


class ClipImage(NamedTuple):
    """A frame of a clip: (H, W, 3) uint8 RGB."""

    clip: Clip
    image: np.ndarray


def images_ahead(
    manifest: Manifest, clips: Iterable[Clip], batch: int = 1
) -> Generator[ClipImage, None, None]:
    """All frames of clips in order. A thread draws the clips and decodes AHEAD batches of frames ahead.

    Args:
        manifest: of the clips.
        clips: drawn on demand.
        batch: frames that are taken at once.

    Raises:
        ValueError: as in `read_clip`, behind all frames before it.
    """
    return ahead(_images(manifest, clips), AHEAD * batch)


def _images(manifest: Manifest, clips: Iterable[Clip]) -> Iterator[ClipImage]:
    for clip in clips:
        for image in read_clip(manifest, clip):
            yield ClipImage(clip, image)
