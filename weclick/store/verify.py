"""Is an entry still what was committed?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weclick.common.errors import InputError
from weclick.common.schemas import schema_fault
from weclick.store.arrays import is_plain
from weclick.store.entries import META, Entry, read_meta_file
from weclick.store.keys import file_digest
from weclick.store.meta import damaged, parse_meta, spell_meta
from weclick.store.zarr_json import ZARR_JSON_BYTES, check_zarr_json


def verify_entry(path: Path, kind: str = "", key: str = "") -> list[str]:
    """Compare an entry's files with their digests, its key with its inputs, its attributes with the schema.

    Args:
        path: folder of the entry.
        kind, key: what the entry should be; an empty key takes the folder's name.

    Returns:
        One line per fault, with the file's name; empty if the entry is whole.
    """
    try:
        data = read_meta_file(path)
        meta = parse_meta(data, path, kind, key or path.name)
    except InputError as error:
        return [str(error)]
    faults = [] if data == spell_meta(meta) else [f"{path / META}: is not written as weclick writes it"]
    fault = _attribute_fault(meta)
    faults += [f"{path / META}: {fault}"] if fault else []
    present = set(_walk(path)) - {META}
    faults += [f"{path / name}: is not listed in {META}" for name in sorted(present - set(meta["files"]))]
    for name, expected in meta["files"].items():
        if name not in present and not (path / name).exists():
            faults.append(f"{path / name}: missing, expected {expected['bytes']} bytes")
        elif fault := _file_fault(path, name, expected):
            faults.append(f"{path / name}: {fault}")
    return faults


def check_attributes(entry: Entry) -> None:
    """Check an entry's attributes before anything acts on them.

    Raises:
        DamagedEntryError: they do not meet the schema of its kind.
    """
    if fault := _attribute_fault(entry.meta):
        raise damaged(entry.path, fault)


def _walk(path: Path) -> Iterator[str]:
    """Names of all files, and of links to folders, below a folder."""
    for folder, folders, files in os.walk(path):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*files, *links]:
            yield (Path(folder) / name).relative_to(path).as_posix()


def _file_fault(path: Path, name: str, expected: dict[str, Any]) -> str:
    try:
        return _content_fault(path, name, expected)
    except OSError as error:  # a dying disk
        return f"cannot be read ({error})"


def _content_fault(path: Path, name: str, expected: dict[str, Any]) -> str:
    if not is_plain(path, name):
        return "is no plain file; symbolic links are refused"
    if (path / name).stat().st_size != expected["bytes"] or file_digest(path / name) != expected["sha256"]:
        return "content differs from what was committed"
    if name.rpartition("/")[2] == "zarr.json":
        if expected["bytes"] > ZARR_JSON_BYTES:
            return f"has {expected['bytes']} bytes, at most {ZARR_JSON_BYTES} are read"
        try:
            check_zarr_json((path / name).read_bytes())
        except ValueError as error:
            return f"was refused: {error}"
    return ""


def _attribute_fault(meta: Mapping[str, Any]) -> str:
    """How an entry's attributes miss the schema of its kind; empty if they meet it."""
    fault = schema_fault(meta["attributes"], meta["kind"])
    return f"attributes are not those of a {meta['kind']} entry ({fault})" if fault else ""
