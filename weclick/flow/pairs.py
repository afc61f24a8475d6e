"""From frames in order to batches of pairs. `BatchEstimator` makes flows of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from numpy import ndarray


@dataclass(frozen=True)
class PairImages:
    """A pair of frames, each (H, W, 3) uint8 RGB; its index among its clip's pairs; its clip's number."""

    index: int
    target: ndarray
    neighbour: ndarray
    clip: int = 0


def match_pairs(
    images: Iterable[ndarray], pairs: Sequence[tuple[int, int]], *, clip: int = 0
) -> Iterator[PairImages]:
    """Yield every pair once both of its frames have come; a frame is held only while a pair waits for it.

    Args:
        images: frames in order.
        pairs: (target, neighbour) positions in `images`.
        clip: number of the clip, which every pair gets.
    """
    complete_at: dict[int, list[int]] = defaultdict(list)
    last_use: dict[int, int] = {}
    for index, pair in enumerate(pairs):
        complete_at[max(pair)].append(index)
        last_use |= {position: max(*pair, last_use.get(position, 0)) for position in pair}
    held: dict[int, ndarray] = {}
    for position, image in enumerate(images):
        held[position] = image
        for index in complete_at[position]:
            target, neighbour = pairs[index]
            yield PairImages(index, held[target], held[neighbour], clip)
        held = {p: image for p, image in held.items() if last_use.get(p, 0) > position}


def batches(items: Iterable[PairImages], size: int) -> Iterator[list[PairImages]]:
    """Lists of at most `size` successive pairs of images of one size; a list may hold pairs of several clips.

    A thread makes the next list meanwhile.
    """
    groups = _group(items, size)
    with ThreadPoolExecutor(1) as ahead:
        future = ahead.submit(next, groups, None)
        while batch := future.result():
            future = ahead.submit(next, groups, None)
            yield batch


def _group(items: Iterable[PairImages], size: int) -> Iterator[list[PairImages]]:
    batch: list[PairImages] = []
    for item in items:
        if batch and item.target.shape != batch[0].target.shape:
            yield batch
            batch = []
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
