"""Checks of clicks that people made, for whoever takes them: importers, the page and the doctor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

NEAR_PX = 6
"""Clicks of one class so near each other may be one that was made twice. No honest pairs were so near."""

FEW = 5
"""So many clicks say nothing about the unit of their coordinates."""

FEW_CLICKS = 20
"""Fewer clicks of a class teach little. The page shows such counts in colour."""


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


def near_doubles(clicks: Iterable[Click], within_px: int = NEAR_PX) -> list[tuple[Click, Click]]:
    """Pairs of an earlier and a later click of one class and frame, at most so far apart. One a later click.

    The time grows with the clicks, not with their pairs: each looks into the nine squares around it.

    Args:
        clicks: in the order in which they were made.
        within_px: of the frame at its full size, > 0.
    """
    squares: dict[tuple[str, str, str, int, int], list[Click]] = {}
    pairs = []
    for click in clicks:
        row, column = click.y // within_px, click.x // within_px
        kind = (click.clip, click.frame, click.class_name)
        around = (
            other
            for i in (row - 1, row, row + 1)
            for j in (column - 1, column, column + 1)
            for other in squares.get((*kind, i, j), ())
        )
        first = next((other for other in around if distance_px(other, click) <= within_px), None)
        if first is None:
            squares.setdefault((*kind, row, column), []).append(click)
        else:
            pairs.append((first, click))
    return pairs


def distance_px(one: Click, other: Click) -> float:
    """How far apart two clicks of a frame lie."""
    return math.dist((one.y, one.x), (other.y, other.x))


def double_words(pairs: list[tuple[Click, Click]]) -> str:
    """What is said of near doubles, with the place of the first pair; empty if there is none."""
    if not pairs:
        return ""
    one, other = pairs[0]
    lie = "1 click lies" if len(pairs) == 1 else f"{len(pairs)} clicks lie"
    first = f"{one.class_name!r} at (y {one.y}, x {one.x}) and (y {other.y}, x {other.x})"
    where = f"{'' if len(pairs) == 1 else 'the first '}in clip {one.clip!r}, frame {one.frame!r}"
    return f"{lie} within {NEAR_PX} px of another of the same class, and may be double; {where}: {first}"


def few_words(counts: Mapping[str, int]) -> str:
    """Which classes have few clicks or none; empty if none is short of them.

    Args:
        counts: class name -> clicks.

    Example:
        >>> few_words({"car": 40, "tree": 3, "sky": 0})
        'under 20 clicks: tree 3; no click: sky'
    """
    few = [f"{name} {count}" for name, count in counts.items() if 0 < count < FEW_CLICKS]
    none = [name for name, count in counts.items() if not count]
    parts = [f"under {FEW_CLICKS} clicks: {', '.join(few)}"] * bool(few)
    return "; ".join(parts + [f"no click: {', '.join(none)}"] * bool(none))
