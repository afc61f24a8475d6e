"""The neighbours of a target that roles choose in other ways than `weclick.manifest.window`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from weclick.manifest import Clip
from weclick.manifest.window import Window


class Neighbours(Protocol):
    """Chooses the neighbours of a target."""

    @property
    def frames(self) -> int:
        """The frames of a sample at most, including the target."""

    def draw(self, clip: Clip, target: int, rng: np.random.Generator) -> tuple[int, ...]:
        """Positions in the clip's frames; fewer than asked for where the clip has no more."""


NEXT = Window(direction="backward", frames=2, sampling="fixed", interval_frames=1)
"""The frame after the target alone."""


@dataclass(frozen=True)
class OneApart:
    """One frame at a gap of the target, before or after it (MaskConsist, Liu et al. 2021: t and t +- 3).

    Attributes:
        delta_frames: the gap, in frames of the source video.
        frames: of a sample: the pair.
    """

    delta_frames: int
    frames: int = 2

    def draw(self, clip: Clip, target: int, rng: np.random.Generator) -> tuple[int, ...]:
        """One of both sides at random; none where the clip has neither."""
        number = clip.frames[target].number
        wanted = (number - self.delta_frames, number + self.delta_frames)
        found = [i for i, frame in enumerate(clip.frames) if frame.number in wanted]
        return (found[int(rng.integers(len(found)))],) if found else ()
