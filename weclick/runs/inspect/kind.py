"""Tells the kind of a file or folder, by its content if the name leaves it open."""

from __future__ import annotations

from pathlib import Path

from weclick.clicks.hdf5 import holds_rows
from weclick.clicks.sourced_tags import ROWS as TAGS
from weclick.common.bounded_json import parse_json, read_bounded
from weclick.store.entries import META

UNDERSTOOD = (
    "a manifest (results/manifest/train/0.json), a click table (results/clicks/train.h5), a table of tags "
    "(results/tags/train.h5), an index of store entries (results/flow/train/0.json), the folder of a store "
    "entry (with its entry.json), or a checkpoint (results/student/model.safetensors)"
)


def kind_of(path: Path) -> str:
    """The kind of a path: manifest, clicks, tags, index, entry or checkpoint.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ValueError: the path is of none of these kinds; the message names them.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is nothing here; expected {UNDERSTOOD}")
    if path.is_dir():
        found = "a folder without entry.json"
        kind = "entry" if (path / META).is_file() else ""
    elif path.suffix == ".h5":
        return "tags" if holds_rows(path, TAGS) else "clicks"
    elif path.suffix == ".safetensors":
        return "checkpoint"
    else:
        kind, found = _json_kind(path)
    if not kind:
        raise ValueError(f"{path}: is {found}; expected {UNDERSTOOD}")
    return kind


def _json_kind(path: Path) -> tuple[str, str]:
    try:
        raw = parse_json(read_bounded(path))
    except (OSError, ValueError):
        return "", "no JSON, HDF5 or safetensors file"
    if isinstance(raw, dict) and "clips" in raw and raw.keys() & {"split", "schema_version"}:
        return "manifest", ""
    if isinstance(raw, dict) and {"kind", "entries"} <= raw.keys():
        return "index", ""
    if isinstance(raw, dict) and path.name == META:
        return "", f"the description inside a store entry; give its folder, {path.parent}"
    return "", "JSON of another kind"
