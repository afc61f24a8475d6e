"""One sample of a step, and how its crop, its colours and its place in an epoch are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from weclick.common.sections import TrainingSection
from weclick.geometry import Crop
from weclick.manifest import Clip

CROP_MULTIPLE = 16
"""Crops are padded to multiples of this, the deepest stride of the networks."""


class Jitter(NamedTuple):
    """Factors on the colours of a sample; 1 leaves them as they are.

    Attributes:
        brightness: of all values.
        contrast: of the distance to mid-grey.
        saturation: of the distance to the pixel's own grey.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0


NO_JITTER = Jitter()


@dataclass(frozen=True)
class Sample:
    """One target, its neighbours, the crop and colours that all of them share, and the target's clicks.

    `weights` (N,) says what each of the clicks counts; None: all count 1. `tags` (K,) bool are the classes
    that occur; None: the run does not ask.
    """

    clip: Clip
    target: int
    neighbours: tuple[int, ...]
    crop: Crop
    clicks: np.ndarray
    jitter: Jitter = NO_JITTER
    weights: np.ndarray | None = None
    tags: np.ndarray | None = None


def draw_crop(image_size: tuple[int, int], options: TrainingSection, rng: np.random.Generator) -> Crop:
    """A random scale, place and flip.

    Args:
        image_size: (H, W) of the frames, px.
        options: scale, the range of a log-uniform draw; crop, (height, width) px; flip.
        rng: gives three or four draws.

    Returns:
        A crop of the size asked for, padded to CROP_MULTIPLE.
    """
    low, high = options["scale"]
    scale = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    height, width = padded_size(options["crop"])
    spare = [have * scale - want for have, want in zip(image_size, (height, width), strict=True)]
    top, left = (float(rng.uniform(min(0, s), max(0, s))) / scale for s in spare)
    flip = bool(options["flip"] and rng.random() < 0.5)
    return Crop(top=top, left=left, scale=scale, flip=flip, size=(height, width))


def padded_size(size: Sequence[int]) -> tuple[int, int]:
    """(H, W) px rounded up to multiples of CROP_MULTIPLE."""
    height, width = (-(-side // CROP_MULTIPLE) * CROP_MULTIPLE for side in size)
    return height, width


def draw_jitter(strength: float, rng: np.random.Generator) -> Jitter:
    """Factors from 1 - strength to 1 + strength; at strength 0 nothing is drawn."""
    return Jitter(*rng.uniform(1 - strength, 1 + strength, 3)) if strength else NO_JITTER


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the targets in an epoch: a function of seed and epoch."""
    return np.random.default_rng((seed, 2**31 + epoch)).permutation(count)
