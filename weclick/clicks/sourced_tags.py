"""A table of tags that knows where each row comes from, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from weclick.clicks.hdf5 import read_rows, rows_digest, text_type, write_rows
from weclick.common.bounded_json import parse_json
from weclick.common.digest import canonical_json
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import write_text
from weclick.manifest.tag_table import Place, TagTable

SCHEMA_VERSION = 1
SOURCES = ("labels", "file", "folders", "voc")
"""Values of `tags.source`."""

ROWS = "tags"
"""Name of the dataset in the file."""

_COLUMNS = ("clip", "frame", "class_id", "source")
_AGAIN = "delete it and make it again with `weclick tags`"


@dataclass(frozen=True)
class SourcedTags(TagTable):
    """Tags of one split with their sources. What is learned from them depends on the tags alone.

    Attributes:
        split: e.g. train.
        sources: of each row, one of SOURCES.
    """

    split: str = ""
    sources: Mapping[Place, str] = field(default_factory=dict)


def write_tags(table: SourcedTags, path: Path) -> None:
    """Write tags as HDF5, at once and whole; equal tables give equal files.

    Dataset `tags` (N,) of (clip, frame: UTF-8, class_id: uint8, source: UTF-8), sorted; frame is empty for
    the whole clip. Its attributes are schema_version, split, classes (JSON list of names), complete (JSON),
    and sha256 (hex) over rows and attributes.
    """
    listed = [(*place, class_id) for place, ids in sorted(table.rows.items()) for class_id in sorted(ids)]
    texts = {
        "clip": [clip.encode() for clip, _, _ in listed],
        "frame": [frame.encode() for _, frame, _ in listed],
        "source": [table.sources[clip, frame].encode() for clip, frame, _ in listed],
    }
    types = {name: text_type(column) for name, column in texts.items()} | {"class_id": np.dtype("u1")}
    rows = np.empty(len(listed), [(name, types[name]) for name in _COLUMNS])
    for name, column in texts.items():
        rows[name] = column
    rows["class_id"] = [class_id for _, _, class_id in listed]
    write_rows(path, ROWS, rows, _attributes(table))


def write_tags_json(table: SourcedTags, path: Path) -> None:
    """Write tags as JSON (data_schema/tags.schema.json), one frame or clip a line."""
    head = {
        "schema_version": SCHEMA_VERSION,
        "split": table.split,
        "classes": list(table.classes),
        "complete": table.complete,
    }
    rows = [
        json.dumps(
            {
                "clip": clip,
                "frame": frame or None,
                "classes": [table.classes[class_id] for class_id in sorted(ids)],
                "source": table.sources[clip, frame],
            }
        )
        for (clip, frame), ids in sorted(table.rows.items())
    ]
    write_text(path, json.dumps(head, indent=1)[:-2] + ',\n "tags": [\n' + ",\n".join(rows) + "\n ]\n}\n")


def read_tags(path: Path) -> SourcedTags:
    """Read tags from HDF5.

    Raises:
        MissingFileError: there is no such file.
        InputError: the file is no table of tags of a known version, or damaged.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such table of tags; make it with `weclick tags`")
    try:
        rows, attributes = read_rows(path, ROWS)
        version, digest = attributes.get("schema_version"), attributes.pop("sha256", None)
        known = version == SCHEMA_VERSION and rows.dtype.names == _COLUMNS
        table = _table(rows, attributes) if known and digest == rows_digest(rows, attributes) else None
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # a damaged file fails anywhere in HDF5
        raise InputError(
            f"{path}: is no table of tags ({type(error).__name__}: {error}); {_AGAIN}"
        ) from error
    if not known:
        raise InputError(
            f"{path}: table of tags of version {version} with columns {rows.dtype.names}, expected version "
            f"{SCHEMA_VERSION} with {_COLUMNS}; {_AGAIN}"
        )
    if table is None:
        raise InputError(f"{path}: is not what was written, its digest differs or is missing; {_AGAIN}")
    return table


def _attributes(table: SourcedTags) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "split": table.split,
        "classes": canonical_json(table.classes),
        "complete": canonical_json(table.complete),
    }


def _table(rows: np.ndarray, attributes: Mapping[str, Any]) -> SourcedTags:
    classes, complete = (parse_json(attributes[name].encode()) for name in ("classes", "complete"))
    texts = [attributes["split"], *classes] if isinstance(classes, list) else [None]
    if not isinstance(complete, bool) or not all(isinstance(text, str) for text in texts):
        raise TypeError("its split, classes or completeness are not what `weclick tags` writes")
    if len(rows) and int(rows["class_id"].max()) >= len(classes):
        raise ValueError(f"a tag has no class of its {len(classes)}")
    found: dict[Place, set[int]] = {}
    sources: dict[Place, str] = {}
    for clip, frame, class_id, source in rows.tolist():
        place = clip.decode(), frame.decode()
        found.setdefault(place, set()).add(class_id)
        if sources.setdefault(place, source.decode()) not in SOURCES:
            raise ValueError(f"a tag comes from {sources[place]!r}, expected one of {', '.join(SOURCES)}")
    return SourcedTags(
        classes=tuple(classes),
        complete=complete,
        rows={place: frozenset(ids) for place, ids in found.items()},
        split=attributes["split"],
        sources=sources,
    )
