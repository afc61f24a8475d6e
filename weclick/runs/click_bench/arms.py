"""The ways to choose clicks that are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from weclick.clicks import scaled_min_pixels
from weclick.clicks.asking import AskOptions
from weclick.common.sections import ClicksSection
from weclick.runs.click.media import spread
from weclick.runs.click_bench.oracle import Oracle
from weclick.runs.click_bench.pool import Shot

BASE = "random points"
"""The arm that all others are compared with."""

SLIVER_PX, SLIVER_AT = 400, (360, 480)
"""An object of fewer px on a frame of (H, W) px is a sliver in the arm that leaves slivers out."""


@dataclass(frozen=True)
class Arm:
    """A way to choose clicks.

    Attributes:
        name: as the table shows it.
        options: of `propose`; None: whole frames are clicked, one point on each object.
        point: where on an object, if whole frames are clicked.
        slivers: whether slivers get a click, too.
    """

    name: str
    options: AskOptions | None = None
    point: Literal["centroid", "random"] = "centroid"
    slivers: bool = True


ARMS = (
    Arm(BASE, AskOptions(random_share=1.0)),
    Arm("even frames"),
    Arm("margin", AskOptions()),
    Arm("margin, balanced", AskOptions(balanced=True)),
    Arm("even frames, random pixel", point="random"),
    Arm("even frames, no slivers", slivers=False),
)

FINDINGS = (
    ("a random pixel of an object instead of its centroid", "even frames, random pixel", "even frames"),
    ("leaving out slivers", "even frames, no slivers", "even frames"),
    ("margin with balanced classes instead of margin", "margin, balanced", "margin"),
)
"""What, arm, and the arm that it is compared with."""


def frame_order(shots: Sequence[Shot], rng: np.random.Generator) -> Iterator[int]:
    """All frames, evenly spread over each clip, the clips in turn and in random order, as the page goes."""
    clips: dict[str, list[int]] = {}
    for position, shot in enumerate(shots):
        clips.setdefault(shot.clip, []).append(position)
    names = [list(clips)[i] for i in rng.permutation(len(clips))]
    orders = [[clips[name][i] for i in spread(len(clips[name]), len(clips[name]))] for name in names]
    for turn in range(max(map(len, orders))):
        yield from (order[turn] for order in orders if turn < len(order))


def frame_clicks(
    arm: Arm, shots: Sequence[Shot], oracle: Oracle, section: ClicksSection, rng: np.random.Generator
) -> Iterator[tuple[int, int, int]]:
    """Frame, y and x of every object, frame after frame.

    Args:
        arm: says where objects are clicked and which.
        shots: the pool.
        oracle: knows the objects.
        section: `clicks` of the configuration: min_pixels and min_pixels_at.
        rng: draws the order of clips and of a frame's objects.
    """
    for frame in frame_order(shots, rng):
        size = shots[frame].size
        least = scaled_min_pixels(section["min_pixels"], section["min_pixels_at"], size)
        if not arm.slivers:
            least = max(least, scaled_min_pixels(SLIVER_PX, SLIVER_AT, size))
        objects = oracle.objects(frame, point=arm.point, min_pixels=least)
        yield from ((frame, *objects[i]) for i in rng.permutation(len(objects)))
