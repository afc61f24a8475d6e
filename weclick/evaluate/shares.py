"""How sure a share is: of clicks that are hit, and of whatever else is counted in tries."""

from __future__ import annotations

import math

QUANTILE = 1.959964
"""Of the normal distribution, for intervals of 95 %."""


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): the shares with which so many hits are no surprise.

    It takes each try as one of its own. Clicks on one frame resemble each other, so the truth lies outside
    somewhat more often.

    Example:
        >>> [round(end, 3) for end in wilson(9, 10)]
        [0.596, 0.982]
    """
    share, z2 = hits / tries, QUANTILE**2
    middle = (share + z2 / (2 * tries)) / (1 + z2 / tries)
    half = QUANTILE / (1 + z2 / tries) * math.sqrt(share * (1 - share) / tries + z2 / (4 * tries**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)
