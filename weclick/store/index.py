"""Index files: they say which entry belongs to which clip. Snakemake sees only them of the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from weclick.common.errors import InputError
from weclick.common.files import read_json, write_text


def write_index(path: Path, kind: str, entries: Mapping[str, str]) -> None:
    """Write clip -> key. Equal entries give an equal file."""
    write_text(path, json.dumps({"kind": kind, "entries": dict(sorted(entries.items()))}, indent=1) + "\n")


def read_index(paths: Sequence[Path], kind: str) -> dict[str, str]:
    """Read the index files of a split's shards as one mapping clip -> key.

    Raises:
        InputError: a file is not an index of that kind.
    """
    entries: dict[str, str] = {}
    for path in paths:
        raw = read_json(path, kind)
        found = raw.get("entries")
        texts = isinstance(found, dict) and all(isinstance(key, str) for key in found.values())
        if raw.get("kind") != kind or not isinstance(found, dict) or not texts:
            raise InputError(
                f"{path}: is no index of {kind} entries (clip -> key); delete it and run "
                f"the {kind} stage again"
            )
        entries.update(found)
    return entries
