"""Checks of clicks that people made, for whoever takes them: importers, the page and the doctor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

NEAR_PX = 6
"""Clicks of one class so near each other may be one that was made twice. No honest pairs were so near."""

FEW = 5
"""So many clicks say nothing about the unit of their coordinates."""


class Click(NamedTuple):
    """A click in px of the upright frame at its full size, from 0."""

    clip: str
    frame: str
    y: int
    x: int
    class_name: str


def pixel(value: float, side: int) -> int | None:
    """The pixel in which a point lies.

    Args:
        value: px from the corner of the first pixel. `side` is the corner of the last one, and counts to it.
        side: of the frame, in px.

    Returns:
        0 .. side - 1; None if the point lies outside. It is never moved in.

    Example:
        >>> pixel(0.0, 64), pixel(63.99, 64), pixel(64.0, 64), pixel(-0.4, 64)
        (0, 63, 63, None)
    """
    return min(math.floor(value), side - 1) if 0 <= value <= side else None


@dataclass
class Units:
    """Whether coordinates look like pixels. `add` them all, then ask for the `fault`.

    Attributes:
        count: how many points were added.
        smallest, largest: of their coordinates.
        is_whole: whether all are whole, or halves, as the centres of pixels are.
        share: of the smallest frame's area, the part within 100 px of its corner.
    """

    count: int = 0
    smallest: float = 0
    largest: float = 0
    is_whole: bool = True
    share: float = 0
    _sizes: set[tuple[int, int]] = field(default_factory=set)

    def add(self, y: float, x: float, size: tuple[int, int]) -> None:
        """Take a point, as its file spells it, of a frame of (H, W) px. What is no number tells nothing."""
        if not (math.isfinite(y) and math.isfinite(x)):
            return
        self.count += 1
        self.smallest = min(self.smallest, y, x)
        self.largest = max(self.largest, y, x)
        self.is_whole = self.is_whole and (2 * y) % 1 == 0 and (2 * x) % 1 == 0
        if size not in self._sizes:
            self._sizes.add(size)
            self.share = max(self.share, 100 / size[0] * 100 / size[1])

    def fault(self) -> str:
        """What the coordinates look like; empty if they look like pixels."""
        if not self.count or self.is_whole or self.smallest < 0:
            return ""
        if self.largest <= 1:
            return f"all {self.count} points lie within 0..1, so they look like fractions of the frame"
        if self.count > FEW and self.largest <= 100 and self.share < 0.1:
            return (
                f"all {self.count} points lie within 0..100 and have decimals, so they look like per cent of "
                "the frame"
            )
        return ""


def near_doubles(clicks: Iterable[Click]) -> list[tuple[Click, Click]]:
    """Pairs of an earlier and a later click of one class and frame, at most NEAR_PX apart. One a later click.

    The time grows with the clicks, not with their pairs: each looks into the nine squares around it.
    """
    squares: dict[tuple[str, str, str, int, int], list[Click]] = {}
    pairs = []
    for click in clicks:
        row, column = click.y // NEAR_PX, click.x // NEAR_PX
        kind = (click.clip, click.frame, click.class_name)
        around = (
            other
            for i in (row - 1, row, row + 1)
            for j in (column - 1, column, column + 1)
            for other in squares.get((*kind, i, j), ())
        )
        first = next((o for o in around if math.dist((o.y, o.x), (click.y, click.x)) <= NEAR_PX), None)
        if first is None:
            squares.setdefault((*kind, row, column), []).append(click)
        else:
            pairs.append((first, click))
    return pairs
