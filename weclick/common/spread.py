"""Some of many things, evenly chosen: there are two ways, and it matters which.

Pictures take the middles of equal parts. A single one is then the middle of a clip and not its first frame,
which has no earlier neighbour. Scores and checks take both ends. They have to go on choosing what they chose,
since the weights that `keep: best` keeps follow from it, and no key says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def spread_over(items: Sequence[Item], at_most: int) -> list[Item]:
    """At most so many items, evenly spaced: the middles of equal parts."""
    count = min(at_most, len(items))
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def spread_to_ends(items: Sequence[Item], at_most: int) -> list[Item]:
    """At most so many items, evenly spaced from the first to the last; one alone is the first."""
    count = min(at_most, len(items))
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]
