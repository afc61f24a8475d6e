"""`entry.json`: an entry's description of itself. It is written last, and checked before it is used.

Others wrote what lies on a share or in a bucket. So sizes are bounded before anything is read, names cannot
leave the entry, and an entry must be what its key says.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import google_crc32c

from weclick import __version__
from weclick.common.bounded_json import parse_json
from weclick.common.disk import blocks_of, files_below
from weclick.common.errors import InputError
from weclick.common.stages import KINDS
from weclick.common.strict_json import strict_json
from weclick.store.keys import entry_key

LAYOUT = "v1"
META = "entry.json"
META_BYTES = 64 * 2**20
"""The longest entry.json that is read."""

ENTRY_BYTES = 2**40
"""The largest size that an entry may claim."""

_KEY = re.compile(r"[0-9a-f]{64}")
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(rf"{_PART}(/{_PART})*")


class DamagedEntryError(InputError):
    """An entry of the store is no longer what was committed."""


class EntryMissingError(LookupError, InputError):
    """No root of the store holds an entry that a stage needs."""


def damaged(where: Path | str, what: str) -> DamagedEntryError:
    """The error for an entry, at a folder or an s3:// address, that is not what was committed."""
    heal = (
        "delete all objects below this address and publish the entry again"
        if str(where).startswith("s3://")
        else "delete this folder and run again: the stage makes a new one"
    )
    return DamagedEntryError(
        f"{where}: damaged entry: {what}; {heal} (`weclick cache verify` finds all such)"
    )


def is_key(name: object) -> bool:
    """Whether this is a key of an entry: 64 hex digits."""
    return isinstance(name, str) and _KEY.fullmatch(name) is not None


def is_safe_name(name: object) -> bool:
    """Whether this is a relative path of plain names, none hidden, that cannot leave its folder."""
    return isinstance(name, str) and len(name) < 256 and _NAME.fullmatch(name) is not None


def entry_name(kind: str, key: str) -> str:
    """Where an entry lies below its root, e.g. `flow/v1/3f/3f9a...`.

    Raises:
        InputError: the kind is unknown, or the key is not a SHA-256 in hex.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind of entry {kind!r}, expected one of {', '.join(KINDS)}")
    if not is_key(key):
        raise InputError(
            f"{key!r} is no key of a {kind} entry, expected 64 hex digits; the index that names it was "
            "edited: delete it and run the stage again"
        )
    return f"{kind}/{LAYOUT}/{key[:2]}/{key}"


def describe_entry(
    folder: Path, kind: str, key: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of entry.json for a folder that holds all files of a new entry.

    Returns:
        The arguments, the bytes, SHA-256 and CRC-32C of every file, the user and the versions.
    """
    files = {path.relative_to(folder).as_posix(): _checksums(path) for path in files_below(folder)}
    meta = {
        "layout": LAYOUT,
        "kind": kind,
        "key": key,
        "inputs": inputs,
        "attributes": attributes,
        "files": files,
        "entry_bytes": sum(file["bytes"] for file in files.values()),
        "producer": {
            "weclick": __version__,
            "zarr": version("zarr"),
            "numpy": version("numpy"),
            "user": user_name(),
        },
        "created_unix_s": int(time.time()),
    }
    meta = json.loads(strict_json(meta))  # makes tuples lists and keys texts, as readers will get them
    return {**meta, "digest": _digest(meta)}


def spell_meta(meta: Mapping[str, Any]) -> bytes:
    """The content of entry.json."""
    return json.dumps(meta, indent=1).encode()


def parse_meta(data: bytes, where: Path | str, kind: str = "", key: str = "") -> dict[str, Any]:
    """Read the content of an entry.json.

    Args:
        data: at most META_BYTES.
        where: the entry's place, for errors.
        kind, key: of the expected entry; empty takes any.

    Raises:
        InputError: it has a layout that this version does not know.
        DamagedEntryError: it is not what was committed, names files outside, or belongs to another entry.
    """
    try:
        meta = parse_json(data)
    except ValueError as error:
        raise damaged(where, f"no readable {META} ({error}), so it is not a committed entry") from error
    if not isinstance(meta, dict) or meta.get("layout") != LAYOUT:
        raise InputError(
            f"{where}: entry layout is not {LAYOUT!r}; it was written by another version of weclick: "
            "delete this folder, or use that version"
        )
    if "digest" not in meta:
        raise InputError(
            f"{where}: {META} has no digest, an early version of weclick wrote it: delete this folder"
        )
    if not _is_described(meta) or meta.get("digest") != _digest(meta):
        raise damaged(where, f"{META} is not what was committed")
    _check_files(meta, where)
    if (kind or meta["kind"], key or meta["key"]) != (meta["kind"], meta["key"]):
        raise damaged(where, f"{META} is of {meta['kind']} entry {meta['key'][:12]}…; it was moved")
    if not _key_follows(meta):
        raise damaged(where, f"its key does not follow from the inputs in {META}; it was edited")
    described: dict[str, Any] = _kept_once(meta)
    return described


def _kept_once(value: Any) -> Any:
    """The same value, whose texts share memory with those of other entries.

    A training holds thousands of entries, which name the same files, frames and options again and again.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {sys.intern(name): _kept_once(each) for name, each in value.items()}
    return [_kept_once(each) for each in value] if isinstance(value, list) else value


def _is_described(meta: Mapping[str, Any]) -> bool:
    """Whether entry.json has the parts that readers need."""
    parts = [meta.get(name) for name in ("inputs", "attributes", "files", "producer")]
    texts = [meta.get(name) for name in ("kind", "key", "digest")]
    return (
        all(isinstance(part, dict) for part in parts)
        and all(isinstance(text, str) for text in texts)
        and type(meta.get("created_unix_s")) is int
        and 0 <= meta["created_unix_s"] < 2**40  # later dates overflow calendars
    )


def _check_files(meta: Mapping[str, Any], where: Path | str) -> None:
    """Check names and sizes before anything opens a file or takes memory."""
    for name, file in meta["files"].items():
        if not is_safe_name(name) or name == META:
            raise damaged(where, f"{META} names the file {name[:80]!r}, which no entry may hold")
        size = file.get("bytes") if isinstance(file, dict) else None
        digest = file.get("sha256") if isinstance(file, dict) else None
        crc = file.get("crc32c", 0) if isinstance(file, dict) else None
        whole = type(size) is int and 0 <= size <= ENTRY_BYTES and type(crc) is int
        if not whole or not isinstance(digest, str) or not _KEY.fullmatch(digest):
            raise damaged(where, f"{META} says {str(file)[:80]} of {name}, expected bytes and sha256")
    total = sum(file["bytes"] for file in meta["files"].values())
    if meta.get("entry_bytes") != total or total > ENTRY_BYTES:
        raise damaged(where, f"{META} promises {meta.get('entry_bytes')} bytes, its files are {total}")


def _key_follows(meta: Mapping[str, Any]) -> bool:
    try:
        return meta["key"] == entry_key(meta["kind"], meta["inputs"])
    except ValueError:  # NaN; no key has one
        return False


def _digest(meta: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over all of entry.json except the digest itself."""
    rest = {name: value for name, value in meta.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _checksums(path: Path) -> dict[str, Any]:
    """SHA-256 for transfers, and CRC-32C for every reader, since that takes a fortieth of the time."""
    sha, crc, size = hashlib.sha256(), 0, 0
    for block in blocks_of(path):
        sha.update(block)
        crc, size = google_crc32c.extend(crc, block), size + len(block)
    return {"bytes": size, "sha256": sha.hexdigest(), "crc32c": crc}


def user_name() -> str:
    """The user of this process, or their number if the system has no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
