"""The frames of an entry, from the manifests that name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from weclick.common.errors import InputError
from weclick.manifest import Classes, Clip, Manifest, read_manifests
from weclick.manifest.read import read_clip
from weclick.store import Entry


class Under(NamedTuple):
    """What an entry is drawn over.

    Attributes:
        images: (H, W, 3) uint8 RGB, of some of its frames.
        classes: of the data set.
    """

    images: list[np.ndarray]
    classes: Classes


def frames_under(
    entry: Entry, manifests: Sequence[Path], digests: Sequence[str], positions: Sequence[int]
) -> Under:
    """Read some frames that an entry was made of.

    Args:
        entry: for errors.
        manifests: of the split.
        digests: of the frames of the entry, in the order of its clip.
        positions: in `digests`, in rising order, of the frames to read.

    Raises:
        InputError: no manifest lists the frames, or one of them changed.
    """
    manifest = read_manifests(manifests)
    clip = _clip_with(entry, manifest, digests)
    place = {frame.digest: t for t, frame in enumerate(clip.frames)}
    steps = [place[digests[position]] for position in positions]
    read = dict(zip(sorted({*steps}), read_clip(manifest, clip.restrict(sorted({*steps}))), strict=True))
    return Under([read[step] for step in steps], manifest.classes)


def _clip_with(entry: Entry, manifest: Manifest, digests: Sequence[str]) -> Clip:
    for clip in manifest.clips:
        if {*digests} <= {frame.digest for frame in clip.frames}:
            return clip
    raise InputError(
        f"{entry.path}: its {len(digests)} frames are those of no clip of split {manifest.split!r} in these "
        "manifests; give the manifests that it was made of, or none"
    )
