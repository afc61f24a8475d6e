"""The neighbours that a target frame may have in training (paper, Sec. 3.2 and Tables 2 and 3).

Gaps are counted in frames of the source video (`Frame.number`), never across clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from weclick.manifest import Clip


@dataclass(frozen=True)
class Window:
    """The temporal window around a target.

    Attributes:
        direction: forward takes earlier frames, backward later ones, both takes both.
        frames: n, the frames of a sample including the target; 1 means no neighbours.
        sampling: random draws n-1 distinct neighbours within `max_gap_frames`; fixed takes those at
            multiples of `interval_frames`.
        interval_frames: distance between frames of a fixed window.
        max_gap_frames: farthest neighbour of a random window.
    """

    direction: Literal["forward", "backward", "both"] = "forward"
    frames: int = 3
    sampling: Literal["random", "fixed"] = "random"
    interval_frames: int = 1
    max_gap_frames: int = 4

    @property
    def reach_frames(self) -> int:
        """The largest gap between a target and any neighbour."""
        if self.frames <= 1:
            return 0
        return self.max_gap_frames if self.sampling == "random" else max(abs(gap) for gap in self._gaps())

    def candidates(self, clip: Clip, target: int) -> tuple[int, ...]:
        """Positions in `clip.frames` that may serve as neighbours of `target`, nearest first."""
        if self.frames <= 1:
            return ()
        position = {frame.number: i for i, frame in enumerate(clip.frames)}
        number = clip.frames[target].number
        return tuple(position[number + gap] for gap in self._gaps() if number + gap in position)

    def pairs(self, clip: Clip) -> tuple[tuple[int, int], ...]:
        """Every (target, neighbour) that training may draw. The flow of these pairs is precomputed."""
        return tuple((target, other) for target in clip.targets for other in self.candidates(clip, target))

    def draw(self, clip: Clip, target: int, rng: np.random.Generator) -> tuple[int, ...]:
        """The neighbours of one sample, at most n-1; fewer where the clip has no more."""
        candidates = self.candidates(clip, target)
        if self.sampling == "random" and len(candidates) >= self.frames:
            chosen = rng.choice(len(candidates), self.frames - 1, replace=False)
            return tuple(candidates[i] for i in sorted(chosen))
        return candidates[: self.frames - 1]

    def _gaps(self) -> list[int]:
        """Signed gaps in frames, nearest first; earlier frames before later ones at the same distance."""
        signs = {"forward": (-1,), "backward": (1,), "both": (-1, 1)}[self.direction]
        if self.sampling == "random":
            return [sign * gap for gap in range(1, self.max_gap_frames + 1) for sign in signs]
        steps = -(-(self.frames - 1) // len(signs))
        gaps = [sign * step * self.interval_frames for step in range(1, steps + 1) for sign in signs]
        return gaps[: self.frames - 1]


def consistency_pairs(clip: Clip, max_gap_frames: int) -> tuple[tuple[int, int], ...]:
    """The (scored frame, nearest earlier frame) pairs for measuring temporal consistency."""
    pairs = []
    for t in clip.scored:
        earlier = [i for i, frame in enumerate(clip.frames) if frame.number < clip.frames[t].number]
        if earlier:
            nearest = max(earlier, key=lambda i: clip.frames[i].number)
            if clip.frames[t].number - clip.frames[nearest].number <= max_gap_frames:
                pairs.append((t, nearest))
    return tuple(pairs)


def wanted_pairs(clip: Clip, window: Window, max_gap_frames: int) -> tuple[tuple[int, int], ...]:
    """The pairs of a clip that get a flow: those that training may draw, then those that are scored.

    Args:
        clip: of either split.
        window: of the training.
        max_gap_frames: largest gap between frames whose consistency is scored.

    Returns:
        (target, neighbour) positions in the frames of the clip.
    """
    return tuple(dict.fromkeys((*window.pairs(clip), *consistency_pairs(clip, max_gap_frames))))


def reach_frames(window: Window, max_gap_frames: int) -> int:
    """How far from its targets and scored frames a clip is read, in frames of the source video."""
    return max(window.reach_frames, max_gap_frames)
