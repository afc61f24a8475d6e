"""Which of many things to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread_over(items: Sequence[Item], at_most: int) -> list[Item]:
    """At most so many items, evenly spaced: the middles of equal parts."""
    count = min(at_most, len(items))
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]
