"""Tags of a split: the classes that occur in a frame or a clip. `weclick.clicks.tags` makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from weclick.common.digest import canonical_json

Place = tuple[str, str]
"""Clip id and frame name; the name is empty for the whole clip."""


@dataclass(frozen=True)
class TagTable:
    """The classes that people or masks say occur. Tags tell no place in the frame.

    Attributes:
        classes: names of the data set's classes; the position is the class id.
        complete: whether classes without a tag are absent.
        rows: (clip id, frame name, or empty for the whole clip) -> ids of the classes that occur.
    """

    classes: tuple[str, ...]
    complete: bool
    rows: Mapping[Place, frozenset[int]] = field(default_factory=dict)

    def of(self, clip: str, frame: str) -> frozenset[int]:
        """Class ids of a frame: its own, else those of its clip, else none."""
        own = self.rows.get((clip, frame))
        return self.rows.get((clip, ""), frozenset()) if own is None else own

    def of_clip(self, clip: str) -> frozenset[int]:
        """Class ids of a clip: its own, and those of all of its frames."""
        return self._by_clip.get(clip, frozenset())

    @cached_property
    def _by_clip(self) -> Mapping[str, frozenset[int]]:
        found: dict[str, frozenset[int]] = {}
        for (clip, _), ids in self.rows.items():
            found[clip] = found.get(clip, frozenset()) | ids
        return found


def tags_digest(table: TagTable) -> str:
    """SHA-256 (hex) over classes, completeness and rows; who made the tags does not count."""
    rows = [[clip, frame, sorted(ids)] for (clip, frame), ids in sorted(table.rows.items())]
    content = canonical_json([table.classes, table.complete, rows])
    return hashlib.sha256(content.encode()).hexdigest()
