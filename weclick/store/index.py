"""Index files: they say which entries belong to which clip. Snakemake sees only them of the store.

Most stages make one entry for each clip: version 1 holds clip -> key. The flow stage makes one for each clip
and need (weclick/manifest/needs.py): version 2 holds clip -> need -> key. Where a clip needs nothing but
`window`, the file is that of version 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from weclick.common.errors import InputError
from weclick.common.files import read_json, write_text

WINDOW = "window"
"""The need of which an index of version 1 tells."""

STACK = "stack"
"""The need of a network that looks at stacks of flow."""

Entries = Mapping[str, str | Mapping[str, str]]
"""Clip -> key, or clip -> need -> key."""


def write_index(path: Path, kind: str, entries: Entries) -> None:
    """Write the entries of clips. Equal entries give an equal file."""
    told = told_of(entries)
    version = {"version": 2} if any(not isinstance(keys, str) for keys in told.values()) else {}
    text = {"kind": kind, **version, "entries": dict(sorted(told.items()))}
    write_text(path, json.dumps(text, indent=1) + "\n")


def told_of(entries: Entries) -> dict[str, str | dict[str, str]]:
    """The entries as an index of the lowest version tells them: clip -> key, or clip -> need -> key."""
    found = {clip: _by_need(keys) for clip, keys in entries.items()}
    if all(keys.keys() <= {WINDOW} for keys in found.values()):
        return {clip: keys[WINDOW] for clip, keys in found.items() if keys}
    return {clip: keys for clip, keys in found.items() if keys}


def read_index(paths: Sequence[Path], kind: str, need: str = WINDOW) -> dict[str, str]:
    """Read the index files of a split's shards as one mapping clip -> key, of one need.

    Raises:
        InputError: a file is not an index of that kind.
    """
    found = read_needs(paths, kind)
    return {clip: keys[need] for clip, keys in found.items() if need in keys}


def read_indexes(paths: Mapping[str, Sequence[Path]], need: str = WINDOW) -> dict[str, dict[str, str]]:
    """Read the index files that a training is given.

    Args:
        paths: kind -> index files, one per shard.
        need: of flow, that the training asks for.

    Returns:
        Kind -> clip -> key; of flow, those of the need, and under `stack` those that stacks need.

    Raises:
        InputError: a file is not an index of its kind.
    """
    found = {
        kind: read_index(files, kind, need if kind == "flow" else WINDOW) for kind, files in paths.items()
    }
    return {**found, STACK: read_index(paths.get("flow", []), "flow", need=STACK)}


def read_needs(paths: Sequence[Path], kind: str) -> dict[str, dict[str, str]]:
    """Read the index files of a split's shards as one mapping clip -> need -> key.

    Raises:
        InputError: a file is not an index of that kind.
    """
    entries: dict[str, dict[str, str]] = {}
    for path in paths:
        raw = read_json(path, kind)
        if raw.get("kind") != kind or not _is_index(raw):
            raise InputError(
                f"{path}: is no index of {kind} entries (clip -> key); delete it and run "
                f"the {kind} stage again"
            )
        entries.update({clip: _by_need(keys) for clip, keys in raw["entries"].items()})
    return entries


def by_clip(made: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """The same keys as clip -> need -> key.

    Args:
        made: need -> clip -> key.
    """
    found: dict[str, dict[str, str]] = {}
    for need, keys in made.items():
        for clip, key in keys.items():
            found.setdefault(clip, {})[need] = key
    return found


def keys_in(entries: Entries) -> Iterator[str]:
    """All keys of an index or of a part of a lock."""
    for keys in entries.values():
        yield from _by_need(keys).values()


def _by_need(keys: str | Mapping[str, str]) -> dict[str, str]:
    return {WINDOW: keys} if isinstance(keys, str) else dict(keys)


def _is_index(raw: Mapping[str, Any]) -> bool:
    entries, version = raw.get("entries"), raw.get("version", 1)
    if not isinstance(entries, dict) or type(version) is not int or version not in (1, 2):
        return False
    if version == 1:
        return all(isinstance(key, str) for key in entries.values())
    nested = [keys for keys in entries.values() if isinstance(keys, dict)]
    return len(nested) == len(entries) and all(
        isinstance(key, str) for keys in nested for key in keys.values()
    )
