"""Which click next: places of which a network is least sure, and places drawn uniformly at random.

The margin of a pixel is the gap between its two most likely classes. Simulated on CamVid, clicks at small
margins, at most three a frame, were worth more than clicks at random pixels; choosing whole frames by their
margins gained nothing. A share of all asks is drawn uniformly, whatever the network thinks: how often it is
right there is its accuracy on these frames, which no choice of places has bent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["margin", "random"]

PIXELS = 2048
"""Random pixels of a frame that are looked at."""


@dataclass(frozen=True)
class Looked:
    """What a network makes of random pixels of a frame.

    Attributes:
        yx: (N, 2) int, different pixels of the frame, drawn uniformly and in random order.
        margin: (N,) float, probability of the likeliest class minus that of the second, 0..1.
        predicted: (N,) int, the likeliest class.
        size: (H, W) px of the frame.
    """

    yx: np.ndarray
    margin: np.ndarray
    predicted: np.ndarray
    size: tuple[int, int]


class Ask(NamedTuple):
    """A place to ask a person about.

    Attributes:
        frame: position in what was looked at.
        y, x: its pixel.
        kind: why it is asked.
        predicted: class id that the network gives it.
        margin: of the network there, 0..1.
    """

    frame: int
    y: int
    x: int
    kind: Kind
    predicted: int
    margin: float


@dataclass(frozen=True)
class AskOptions:
    """How places are chosen.

    Attributes:
        random_share: of the asks, drawn uniformly over all pixels.
        top: candidates are this share of the pixels, those with the smallest margins.
        per_frame: so many of them at most are asked on a frame.
        apart_px: a candidate is so far from every click and every other ask of its frame.
        balanced: take candidates of each predicted class in turn, the least sure of the class.
    """

    random_share: float = 0.25
    top: float = 0.05
    per_frame: int = 3
    apart_px: float = 16
    balanced: bool = False


def random_pixels(size: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """(N, 2) int [y, x]: `count` different pixels of a frame of (H, W) px in random order, or all of them."""
    pixels = size[0] * size[1]
    drawn = rng.choice(pixels, min(count, pixels), replace=False)
    return np.stack(np.divmod(drawn, size[1]), 1)


def propose(
    looked: Sequence[Looked],
    clicked: Sequence[np.ndarray],
    count: int,
    rng: np.random.Generator,
    options: AskOptions = AskOptions(),
) -> list[Ask]:
    """Places to ask about next.

    Args:
        looked: of each frame, what the network makes of it.
        clicked: of each frame, (M, 2) pixels [y, x] that have a click already.
        count: how many places.
        rng: draws.
        options: how places are chosen.

    Returns:
        At most `count` asks at different pixels, frame by frame, the frames in random order. A person who
        stops early has answered random ones of them. There are fewer if candidates run out.
    """
    taken = [[tuple(place) for place in np.asarray(places).reshape(-1, 2).tolist()] for places in clicked]
    asks = _uniform(looked, taken, round(count * options.random_share), rng)
    for ask in asks:
        taken[ask.frame].append((ask.y, ask.x))
    if len(asks) < count:
        asks += _least_sure(looked, taken, count - len(asks), rng, options)
    turn = rng.permutation(len(looked))
    return sorted(asks, key=lambda ask: turn[ask.frame])


def _uniform(
    looked: Sequence[Looked], taken: Sequence[Sequence[tuple[int, ...]]], count: int, rng: np.random.Generator
) -> list[Ask]:
    """Pixels drawn uniformly over all frames. Neither clicks nearby nor their number on a frame matter."""
    areas = np.array([each.size[0] * each.size[1] for each in looked], float)
    if not areas.sum() or not count:
        return []
    left = [_without(each.yx, places) for each, places in zip(looked, taken, strict=True)]
    asks = []
    for frame in rng.choice(len(looked), count, p=areas / areas.sum()).tolist():
        if left[frame]:
            asks.append(_ask(looked, frame, left[frame].pop(0), "random"))
    return asks


def _without(yx: np.ndarray, places: Sequence[tuple[int, ...]]) -> list[int]:
    """Positions of the pixels that are none of `places`: two clicks on one pixel are refused."""
    known = set(places)
    return [i for i, place in enumerate(map(tuple, yx.tolist())) if place not in known]


def _least_sure(
    looked: Sequence[Looked],
    taken: Sequence[Sequence[tuple[int, ...]]],
    count: int,
    rng: np.random.Generator,
    options: AskOptions,
) -> list[Ask]:
    """Candidates drawn at random, of which none is near another or near a click."""
    near = [np.array(places, float).reshape(-1, 2) for places in taken]
    asked = [0] * len(looked)

    def fits(frame: int, position: int) -> bool:
        place = looked[frame].yx[position]
        apart = np.hypot(*(near[frame] - place).T)
        if asked[frame] >= options.per_frame or (apart < options.apart_px).any():
            return False
        asked[frame] += 1
        near[frame] = np.vstack([near[frame], place])
        return True

    asks: list[Ask] = []
    turns = deque(iter(drawn) for drawn in _candidates(looked, options, rng))
    while turns and len(asks) < count:
        candidates = turns.popleft()
        found = next((candidate for candidate in candidates if fits(*candidate)), None)
        if found:
            asks.append(_ask(looked, *found, "margin"))
            turns.append(candidates)
    return asks


def _candidates(
    looked: Sequence[Looked], options: AskOptions, rng: np.random.Generator
) -> list[list[tuple[int, int]]]:
    """Frame and position of the pixels with the smallest margins, shuffled; if balanced, a list a class."""
    places = [(frame, i) for frame, each in enumerate(looked) for i in range(len(each.yx))]
    margin = np.array([value for each in looked for value in each.margin])
    predicted = np.array([value for each in looked for value in each.predicted])
    groups = predicted if options.balanced else np.zeros(len(places))
    found = []
    for group in rng.permutation(np.unique(groups)):
        members = np.flatnonzero(groups == group)
        least = members[margin[members] <= np.quantile(margin[members], options.top)]
        found.append([places[i] for i in rng.permutation(least).tolist()])
    return found


def _ask(looked: Sequence[Looked], frame: int, position: int, kind: Kind) -> Ask:
    each = looked[frame]
    y, x = (int(value) for value in each.yx[position])
    return Ask(frame, y, x, kind, int(each.predicted[position]), float(each.margin[position]))
