"""Choose some of many things evenly. There are two ways, and the difference matters.

Pictures take the middles of equal parts. A single picture is then the middle of a clip and not its first
frame, which has no earlier neighbour. Scores and checks take both ends. This choice must never change, since
it decides which weights `keep: best` keeps, and no key says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def spread_over(items: Sequence[Item], at_most: int) -> list[Item]:
    """At most `at_most` items, evenly spaced: the middles of equal parts."""
    count = min(at_most, len(items))
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def spread_to_ends(items: Sequence[Item], at_most: int) -> list[Item]:
    """At most `at_most` items, evenly spaced from the first to the last. A single one is the first."""
    count = min(at_most, len(items))
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]
