"""How far two people agree: whether they click on the same objects, and give them the same class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import cc3d
import numpy as np

from weclick.clicks.checks import distance_px
from weclick.clicks.placed import PlacedClick

LEAST_MATCHES = 50
"""From fewer matches, kappa is noise."""

Frame = tuple[str, str]
"""Clip id and frame name."""


@dataclass(frozen=True)
class Agreement:
    """Two people on the frames that both clicked.

    Attributes:
        people: their names.
        frames: that both clicked.
        clicks: of both, on these frames.
        matches: pairs of clicks, one of each person, within one segment.
        kappa: Cohen's, over the classes of the pairs; None from fewer than LEAST_MATCHES pairs, or if all
            clicks are of one class.
    """

    people: tuple[str, str]
    frames: int
    clicks: int
    matches: int
    kappa: float | None

    @property
    def matched(self) -> float:
        """The share of the clicks that have a partner."""
        return 2 * self.matches / self.clicks


def agreements(
    clicks: Sequence[PlacedClick], predict: Callable[[PlacedClick], np.ndarray]
) -> list[Agreement]:
    """Every two people who clicked on the same frames.

    Clicks match if they lie in one segment: an 8-connected part of one class, as a network predicts it. By
    their distance alone, those on two thin neighbours would match, and those at the ends of a road would not.
    Each click has one partner at most; within a segment the nearest two come first.

    Args:
        clicks: of one data set.
        predict: the class map (h, w) uint8 of a click's frame, of any size; asked once a frame.
    """
    by_frame: dict[Frame, dict[str, list[PlacedClick]]] = {}
    for each in clicks:
        of = by_frame.setdefault((each.clip.id, each.click.frame), {})
        of.setdefault(each.origin.who, []).append(each)
    found: dict[tuple[str, str], list[Frame]] = {}
    classes: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for frame, people in by_frame.items():
        if len(people) < 2:
            continue
        segments = _segments(predict(next(iter(people.values()))[0]))
        for pair in combinations(sorted(people), 2):
            found.setdefault(pair, []).append(frame)
            classes.setdefault(pair, []).extend(_matched(people[pair[0]], people[pair[1]], segments))
    return [
        Agreement(
            pair,
            len(frames),
            sum(len(by_frame[frame][who]) for frame in frames for who in pair),
            len(classes[pair]),
            kappa(classes[pair]) if len(classes[pair]) >= LEAST_MATCHES else None,
        )
        for pair, frames in sorted(found.items())
    ]


def kappa(pairs: Sequence[tuple[int, int]]) -> float | None:
    """Cohen's kappa (1960): how much oftener two people tell the same class than by chance.

    Example:
        >>> kappa([(0, 0), (0, 0), (1, 1), (0, 1)])
        0.5
        >>> kappa([(0, 0), (0, 0)]) is None
        True
    """
    count = len(pairs)
    same = sum(one == other for one, other in pairs) / count
    ones, others = (Counter(pair[i] for pair in pairs) for i in (0, 1))
    chance = sum(ones[class_id] * others[class_id] for class_id in ones) / count**2
    return (same - chance) / (1 - chance) if chance < 1 else None


def _segments(class_ids: np.ndarray) -> np.ndarray:
    """(h, w) number of the part that each pixel is of."""
    return cc3d.connected_components(class_ids.astype(np.uint16) + 1, connectivity=8)


def _matched(
    ones: Sequence[PlacedClick], others: Sequence[PlacedClick], segments: np.ndarray
) -> list[tuple[int, int]]:
    """The classes of each pair of clicks in one segment."""
    pairs = sorted(
        (distance_px(one.click, other.click), i, j)
        for i, one in enumerate(ones)
        for j, other in enumerate(others)
        if _segment(one, segments) == _segment(other, segments)
    )
    taken: tuple[set[int], set[int]] = set(), set()
    matched = []
    for _, i, j in pairs:
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            matched.append((ones[i].class_id, others[j].class_id))
    return matched


def _segment(click: PlacedClick, segments: np.ndarray) -> int:
    y, x = (int(share * side) for share, side in zip(click.share, segments.shape, strict=True))
    return int(segments[y, x])
