"""Index files: which entry belongs to which clip. They are what Snakemake sees of the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from weclick.manifest import write_text


def write_index(path: Path, kind: str, entries: Mapping[str, str]) -> None:
    """Write clip -> key; equal entries give an equal file."""
    write_text(path, json.dumps({"kind": kind, "entries": dict(sorted(entries.items()))}, indent=1) + "\n")


def read_index(paths: Sequence[Path], kind: str) -> dict[str, str]:
    """Read the index files of a split's shards as one mapping clip -> key.

    Raises:
        ValueError: a file is no index of that kind.
    """
    entries: dict[str, str] = {}
    for path in paths:
        raw = json.loads(Path(path).read_text())
        if not isinstance(raw, dict) or raw.get("kind") != kind:
            raise ValueError(f"{path}: is no index of {kind} entries; run the {kind} stage again")
        entries.update(raw["entries"])
    return entries
