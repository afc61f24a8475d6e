"""How fast people click, by the times of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from weclick.clicks.placed import PlacedClick

BREAK_S = 120.0
"""Whoever makes no click for so long does something else."""

LEAST_GAPS = 3
"""From fewer gaps between clicks, no pace is told."""


@dataclass(frozen=True)
class Pace:
    """How fast a person clicks. Breaks of BREAK_S or more are left out.

    Attributes:
        at_minutes: of each click, the minutes of clicking until then, rising.
        gaps: how many clicks followed another one without a break.
        median_s: between these.
    """

    at_minutes: list[float]
    gaps: int
    median_s: float

    @property
    def minutes(self) -> float:
        """Of clicking."""
        return self.at_minutes[-1]

    @property
    def per_minute(self) -> float:
        """Clicks that followed another one, a minute."""
        return self.gaps / self.minutes


def pace_of(clicks: Sequence[PlacedClick]) -> Pace | None:
    """The pace of one person's clicks; None if too few of them tell when they were made.

    Imported clicks have the time of the import, so they do not count.
    """
    times = sorted(time for each in clicks if (time := clicked_at(each)) is not None)
    gaps = np.diff(np.array(times))
    worked = np.where(gaps < BREAK_S, gaps, 0.0)
    count = int((gaps < BREAK_S).sum())
    if count < LEAST_GAPS or not worked.any():
        return None
    at = np.concatenate([[0.0], worked.cumsum()]) / 60
    return Pace(at.tolist(), count, float(np.median(gaps[gaps < BREAK_S])))


def clicked_at(click: PlacedClick) -> float | None:
    """When a person clicked, in seconds; None if that is not known."""
    if not click.time or click.origin.source == "import":
        return None
    try:
        return datetime.fromisoformat(click.time).timestamp()
    except ValueError:  # another program wrote the log; nothing but the pace needs the time
        return None
