"""Counts the tags of each class."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from weclick.manifest.tag_table import TagTable


class TagCounts(NamedTuple):
    """How often a class is tagged: on single frames, on clips as a whole, and in how many clips at all."""

    frames: int
    whole: int
    clips: int


def tag_counts(table: TagTable) -> list[TagCounts]:
    """The counts of each class, in the order of their ids.

    Example:
        >>> rows = {("a", "0"): frozenset({0, 1}), ("a", "1"): frozenset({1}), ("b", ""): frozenset({1})}
        >>> tag_counts(TagTable(("background", "dog"), True, rows))
        [TagCounts(frames=1, whole=0, clips=1), TagCounts(frames=2, whole=1, clips=2)]
    """
    frames = Counter(class_id for (_, frame), ids in table.rows.items() if frame for class_id in ids)
    whole = Counter(class_id for (_, frame), ids in table.rows.items() if not frame for class_id in ids)
    clips = Counter(class_id for clip in {clip for clip, _ in table.rows} for class_id in table.of_clip(clip))
    return [TagCounts(frames[k], whole[k], clips[k]) for k in range(len(table.classes))]
