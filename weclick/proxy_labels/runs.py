"""Runs: successive frames in which a classifier sees the same classes with confidence (F2F, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from weclick.common.errors import InputError
from weclick.manifest import Clip


@dataclass(frozen=True)
class Chain:
    """Frames of a clip whose maps are gathered at one of them, the target, which gets the label.

    Attributes:
        positions: in the frames of the clip, in the order of time.
        target: position of the target, one of `positions`.
    """

    positions: tuple[int, ...]
    target: int

    @property
    def legs(self) -> tuple[tuple[int, ...], ...]:
        """The ways to the target: from the first frame on, and from the last one back. Both end with it."""
        at = self.positions.index(self.target)
        legs = (self.positions[: at + 1], self.positions[at:][::-1])
        return tuple(leg for leg in legs if len(leg) > 1) or ((self.target,),)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(on whose grid, to which frame) of each flow that the legs are warped along."""
        return tuple((leg[i], leg[i - 1]) for leg in self.legs for i in range(1, len(leg)))


@dataclass(frozen=True)
class Run:
    """A chain that is taken, with the classes that its label tells apart.

    Attributes:
        chain: its frames.
        class_ids: sorted.
        score: how sure the classifier is: the mean over frames and classes, 0..1.
    """

    chain: Chain
    class_ids: tuple[int, ...]
    score: float


def filter_runs(scores: Any, *, tau: float, frames: int, wanted: Collection[int]) -> list[int]:
    """Where runs of confident frames start: all frames show the same classes, and the wanted ones among them.

    With C_t = {c: score_t(c) > tau}, the run t .. t + frames - 1 is accepted if all its C are equal and
    contain `wanted`.

    Args:
        scores: (T, K) of the classes in each frame, 0..1.
        tau: has to be exceeded.
        frames: length of a run, at least 1.
        wanted: classes that have to be among them; none asks for nothing.

    Returns:
        The first frame of every accepted run, in order. Runs may overlap.

    Raises:
        InputError: `scores` has another shape, or `frames` is less than 1.

    Example:
        >>> filter_runs([[0.1, 0.95], [0.2, 0.99], [0.95, 0.99]], tau=0.9, frames=2, wanted={1})
        [0]
    """
    table = np.asarray(scores)
    if table.ndim != 2 or frames < 1:
        raise InputError(
            f"scores have shape {table.shape} and a run {frames} frames, expected (T, K) and at least 1 frame"
        )
    seen = seen_classes(table, tau)
    starts = range(len(seen) - frames + 1)
    return [start for start in starts if is_accepted(seen[start : start + frames], wanted)]


def seen_classes(scores: np.ndarray, tau: float) -> list[frozenset[int]]:
    """The classes of each frame whose score, of (T, K), exceeds `tau`."""
    return [frozenset(np.flatnonzero(row > tau).tolist()) for row in scores]


def is_accepted(seen: Sequence[frozenset[int]], wanted: Collection[int]) -> bool:
    """Whether all frames of a run show the same classes, and these contain the wanted ones."""
    return len(set(seen)) == 1 and seen[0].issuperset(wanted)


def chains(
    clip: Clip, *, frames: int, gap_frames: int, target: Literal["last", "middle"] = "last"
) -> list[Chain]:
    """Every chain that a clip has room for: `frames` frames, each `gap_frames` after the one before it.

    Args:
        clip: numbers of its frames count those of the source video.
        frames: length, at least 1.
        gap_frames: in frames of the source video, at least 1.
        target: which frame gets the label; middle is the later one of two.
    """
    position = {frame.number: i for i, frame in enumerate(clip.frames)}
    found = []
    for first in clip.frames:
        numbers = [first.number + step * gap_frames for step in range(frames)]
        if all(number in position for number in numbers):
            positions = tuple(position[number] for number in numbers)
            found.append(Chain(positions, positions[-1 if target == "last" else frames // 2]))
    return found


def confident_runs(
    chains: Iterable[Chain], scores: np.ndarray, tags: Callable[[int], frozenset[int]], *, tau: float | None
) -> Iterator[Run]:
    """The chains that may be taken, with the classes of their labels.

    Args:
        chains: of one clip.
        scores: (T, K) of the classes in each of its frames, 0..1.
        tags: position -> the classes that are known to occur there. A target without any is not taken.
        tau: chains have to pass as in `filter_runs`, with the tags of the target wanted, and the label has
            the classes that all frames show. None takes every chain, with the tags alone.
    """
    seen = None if tau is None else seen_classes(scores, tau)
    for chain in chains:
        wanted = tags(chain.target)
        if not wanted or (seen and not is_accepted([seen[t] for t in chain.positions], wanted)):
            continue
        ids = tuple(sorted(seen[chain.target] if seen else wanted))
        yield Run(chain, ids, float(scores[np.ix_(chain.positions, ids)].mean()))


def best_runs(runs: Iterable[Run], at_most: int | None) -> list[Run]:
    """The runs of the best scores that share no frame; of equal scores the first.

    Args:
        runs: in the order of their frames.
        at_most: how many; None takes all that have room beside better ones.

    Returns:
        In the order of their targets.
    """
    chosen: list[Run] = []
    taken: set[int] = set()
    for run in sorted(runs, key=lambda run: -run.score):
        if len(chosen) == at_most:
            break
        if taken.isdisjoint(run.chain.positions):
            chosen.append(run)
            taken.update(run.chain.positions)
    return sorted(chosen, key=lambda run: run.chain.target)
