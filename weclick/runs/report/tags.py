"""The part of the page on tags: which classes people say occur, and how long that takes them."""

from __future__ import annotations

from typing import Any

from weclick.clicks.tag_counts import tag_counts
from weclick.common import words
from weclick.runs.report.results import Results

LOOK_S = 1.0
"""Seconds that people are taken to need to tell the classes of a frame, or of a clip as a whole."""

SOURCES = {
    "labels": "the true labels, as people would tell them",
    "file": "a table",
    "folders": "the names of the folders",
    "voc": "PASCAL VOC's files",
}
"""`tags.source` -> where tags come from, after "They come from"."""


def section(results: Results) -> dict[str, Any] | None:
    """How many frames and clips are tagged with each class; None if the run takes no tags."""
    table = results.tags
    if table is None:
        return None
    whole = sum(not frame for _, frame in table.rows)
    tagged = [words.plural(len(table.rows) - whole, "frame")] if whole < len(table.rows) else []
    tagged += [words.plural(whole, "whole clip")] if whole else []
    counts = tag_counts(table)
    largest = max((count.frames + count.whole for count in counts), default=0) or 1
    return {
        "tagged": " and ".join(tagged) or "Nothing",
        "clips": words.plural(len({clip for clip, _ in table.rows}), "clip"),
        "sources": " and ".join(SOURCES[source] for source in sorted({*table.sources.values()})),
        "complete": table.complete,
        "seconds": words.duration(LOOK_S * len(table.rows)),
        "has_whole": bool(whole),
        "rows": [
            {
                "name": name,
                "color": f"rgb({' '.join(map(str, color))})",
                "share": (count.frames + count.whole) / largest,
                "frames": words.count(count.frames),
                "whole": words.count(count.whole),
                "clips": words.count(count.clips),
            }
            for name, color, count in zip(table.classes, results.train.classes.palette, counts, strict=True)
        ],
    }
