"""Describes a table of tags: how many frames and clips each class has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from weclick.clicks.tag_counts import tag_counts
from weclick.clicks.tags import SourcedTags, read_tags
from weclick.common.words import count_bytes, plural
from weclick.manifest.tag_table import tags_digest
from weclick.runs.inspect.description import Description, Table, cut


def describe_tags(path: Path) -> Description:
    """Describe a table of tags.

    Raises:
        MissingFileError, InputError: as in `read_tags`.
    """
    table = read_tags(path)
    whole = sum(not frame for _, frame in table.rows)
    clips = sorted({clip for clip, _ in table.rows})
    absent = "absent" if table.complete else "not known of"
    facts = {
        "split": table.split,
        "tagged": f"{plural(len(table.rows) - whole, 'frame')} and {plural(whole, 'whole clip')}, "
        f"of {plural(len(clips), 'clip')}",
        "from": ", ".join(f"{source} {n}" for source, n in sorted(Counter(table.sources.values()).items())),
        "complete": f"{'yes' if table.complete else 'no'}: classes without a tag are {absent}",
        "file": f"{count_bytes(path.stat().st_size)}, content {tags_digest(table)[:16]}…",
    }
    rows = [(clip, _names(table, clip)) for clip in clips]
    tables = (_per_class(table), cut("Tags per clip", ("clip", "classes"), rows))
    return Description("tags", f"Table of tags {path}", facts, tables)


def _per_class(table: SourcedTags) -> Table:
    rows = [
        (str(i), name, *map(str, counts))
        for i, (name, counts) in enumerate(zip(table.classes, tag_counts(table), strict=True))
    ]
    columns = ("id", "class", "tagged frames", "clips tagged as a whole", "clips with the class")
    return Table("Tags per class", columns, rows)


def _names(table: SourcedTags, clip: str) -> str:
    return ", ".join(table.classes[class_id] for class_id in sorted(table.of_clip(clip)))
