"""A click table that knows where each click comes from: who made it, and with which tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weclick.manifest.click_table import ClickTable
from weclick.manifest.people import Origin

MASK = Origin("mask")
"""Of a click that was made from a mask."""


@dataclass(frozen=True)
class SourcedClicks(ClickTable):
    """Clicks of one split with their origins. What is trained on them depends on points and classes alone.

    Attributes:
        origins: (clip id, frame name) -> one for each click of the frame, in its order. Frames of tables that
            did not tell are left out.
    """

    origins: Mapping[tuple[str, str], tuple[Origin, ...]] = field(default_factory=dict)

    def origins_of(self, clip: str, frame: str) -> tuple[Origin, ...]:
        """The origin of each click of a frame. Where no one told, the table's options say what made it."""
        told = self.origins.get((clip, frame))
        if told is not None:
            return told
        known = Origin() if "click_file" in self.options else MASK
        return (known,) * len(self.of(clip, frame))

    @classmethod
    def of_table(cls, table: ClickTable) -> SourcedClicks:
        """The table itself, or the same clicks without origins."""
        return table if isinstance(table, cls) else cls(**vars(table))
