"""Is an entry still what was committed?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.common.digest import file_digest
from weclick.common.disk import files_below, is_there, read_plain, surely
from weclick.common.errors import InputError
from weclick.common.schemas import schema_fault
from weclick.store.arrays import is_plain
from weclick.store.entries import META, Entry, read_meta_file
from weclick.store.meta import damaged, parse_meta, spell_meta
from weclick.store.zarr_json import ZARR_JSON_BYTES, check_zarr_json


def verify_entry(path: Path, kind: str = "", key: str = "") -> list[str]:
    """Compare an entry's files with their digests, its key with its inputs, its attributes with the schema.

    Args:
        path: folder of the entry.
        kind, key: what the entry should be; an empty key takes the folder's name.

    Returns:
        One line per fault, with the file's name; empty if the entry is whole.

    Raises:
        UnreadableError: the disk or share does not let it be read now, so nothing is known about it.
    """
    try:
        data = read_meta_file(path)
        meta = parse_meta(data, path, kind, key or path.name)
    except InputError as error:
        return [str(error)]
    faults = [] if data == spell_meta(meta) else [f"{path / META}: is not written as weclick writes it"]
    fault = _attribute_fault(meta)
    faults += [f"{path / META}: {fault}"] if fault else []
    present = {found.relative_to(path).as_posix() for found in files_below(path)} - {META}
    faults += [f"{path / name}: is not listed in {META}" for name in sorted(present - set(meta["files"]))]
    for name, expected in meta["files"].items():
        if name not in present and not is_there(path / name):
            faults.append(f"{path / name}: missing, expected {expected['bytes']} bytes")
        elif fault := _content_fault(path, name, expected):
            faults.append(f"{path / name}: {fault}")
    return faults


def check_attributes(entry: Entry) -> None:
    """Check an entry's attributes before anything acts on them.

    Raises:
        DamagedEntryError: they do not meet the schema of its kind.
    """
    if fault := _attribute_fault(entry.meta):
        raise damaged(entry.path, fault)


def _content_fault(path: Path, name: str, expected: dict[str, Any]) -> str:
    if not is_plain(path, name):
        return "is no plain file; symbolic links are refused"
    size = surely(path / name, (path / name).stat).st_size
    if size != expected["bytes"] or file_digest(path / name) != expected["sha256"]:
        return "content differs from what was committed"
    if name.rpartition("/")[2] == "zarr.json":
        if expected["bytes"] > ZARR_JSON_BYTES:
            return f"has {expected['bytes']} bytes, at most {ZARR_JSON_BYTES} are read"
        try:
            check_zarr_json(read_plain(path / name, at_most=ZARR_JSON_BYTES + 1))
        except ValueError as error:
            return f"was refused: {error}"
    return ""


def _attribute_fault(meta: Mapping[str, Any]) -> str:
    """How an entry's attributes miss the schema of its kind; empty if they meet it."""
    fault = schema_fault(meta["attributes"], meta["kind"])
    return f"attributes are not those of a {meta['kind']} entry ({fault})" if fault else ""
