"""Entries of the store: written once, committed by a rename, then only read.

An entry is the folder `<root>/<kind>/v1/<kk>/<key>/`: a Zarr v3 group and plain files, and `entry.json`,
which is written last. A folder without `entry.json` is no entry; temporary folders begin with a dot.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from weclick import __version__
from weclick.errors import InputError, room_to_write
from weclick.store.arrays import StoredArray, damaged
from weclick.store.keys import entry_key, file_digest

LAYOUT = "v1"
KINDS = ("frames", "flow", "soft_labels", "models")
META = "entry.json"


class EntryMissingError(LookupError, InputError):
    """No root of the store holds an entry that a stage counts on."""


@dataclass(frozen=True)
class Entry:
    """A committed entry, open for reading. `meta` is its entry.json."""

    path: Path
    meta: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The entry's key, 64 hex digits."""
        return self.meta["key"]

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Shapes, units, axes and whatever else the stage said of its data."""
        return self.meta["attributes"]

    def array(self, name: str) -> StoredArray:
        """One array of the group, read-only.

        Raises:
            DamagedEntryError: it is not as it was committed.
        """
        return StoredArray(self.path, name, self.meta["files"])


@dataclass
class EntryWriter:
    """What a stage fills before its entry exists: arrays, files and attributes."""

    path: Path
    attributes: dict[str, Any] = field(default_factory=dict)

    def create_array(
        self, name: str, *, shape: Sequence[int], chunks: Sequence[int], dtype: str | np.dtype, axes: str
    ) -> zarr.Array:
        """Allocate a sharded, compressed array; one shard holds all chunks of one step of the first axis.

        Args:
            name: its name in the group.
            shape: full shape; the first axis is the one that is written step by step.
            chunks: the unit of reading; the first must be 1.
            dtype: numpy dtype.
            axes: one letter per axis (T frames, P pairs, K classes, H W pixels), kept as an attribute.
        """
        chunks = tuple(min(c, s) for c, s in zip(chunks, shape, strict=True))
        shards = (1, *(-(-s // c) * c for s, c in zip(shape[1:], chunks[1:], strict=True)))
        group = zarr.open_group(self.path, mode="a")
        return group.create_array(
            name,
            shape=tuple(shape),
            chunks=chunks,
            shards=shards,
            dtype=dtype,
            compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
            attributes={"axes": axes},
        )

    def write_file(self, name: str, data: bytes) -> None:
        """Put a plain file beside the arrays."""
        (self.path / name).write_bytes(data)


class Store:
    """A search path of roots: read-only ones first, the local writable one last.

    Args:
        roots: folders; the last one is created when something is written.
    """

    def __init__(self, roots: Sequence[str | Path]):
        if not roots:
            raise InputError("cache.roots is empty, expected at least one folder, the last one writable")
        self.roots = tuple(Path(root).expanduser() for root in roots)

    @classmethod
    def from_config(cls, roots: Sequence[str | Path]) -> Store:
        """The store of a configuration; WECLICK_CACHE (roots joined by ':') takes precedence."""
        given = [root for root in os.environ.get("WECLICK_CACHE", "").split(os.pathsep) if root]
        return cls(given or roots)

    def find(self, kind: str, key: str) -> Entry | None:
        """The entry of that key in the first root that has it, or None."""
        for root in self.roots:
            path = _entry_path(root, kind, key)
            if (path / META).is_file():
                return open_entry(path)
        return None

    def get(self, kind: str, key: str) -> Entry:
        """The entry of that key.

        Raises:
            EntryMissingError: no root has it.
        """
        entry = self.find(kind, key)
        if entry is None:
            roots = ", ".join(map(str, self.roots))
            raise EntryMissingError(
                f"the store has no {kind} entry {key[:12]}… (searched {roots}); it was deleted or the roots "
                f"changed: run the stage again (`snakemake --forcerun {kind} ...`)"
            )
        return entry

    @contextmanager
    def create(self, kind: str, inputs: Mapping[str, Any]) -> Iterator[EntryWriter]:
        """Write a new entry: fill the yielded writer, and leaving the block commits it.

        An exception inside the block, and a full disk, leave nothing behind. If somebody committed the
        same key meanwhile, theirs stays and ours is thrown away.

        Args:
            kind: one of KINDS.
            inputs: what `entry_key` is made of.

        Raises:
            DiskFullError: there is no room.
        """
        key = entry_key(kind, inputs)
        final = _entry_path(self.roots[-1], kind, key)
        temporary = final.parent / f".{key}.{os.getpid()}.{uuid4().hex[:8]}.tmp"
        with room_to_write(final):
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
                _sweep_abandoned(final)
                temporary.mkdir()
                writer = EntryWriter(temporary)
                yield writer
                _seal(temporary, kind, key, inputs, writer.attributes)
                _commit(temporary, final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


def open_entry(path: Path) -> Entry:
    """Open a committed entry by its folder.

    Raises:
        InputError: the folder is no entry, or of a layout this version does not know.
        DamagedEntryError: its entry.json is not what was committed.
    """
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"no readable {META} ({error}), so it is not a committed entry") from error
    if not isinstance(meta, dict) or meta.get("layout") != LAYOUT:
        raise InputError(
            f"{path}: entry layout is not {LAYOUT!r}; it was written by another version of weclick: "
            "delete this folder, or use that version"
        )
    if not _is_described(meta) or meta.get("digest", _meta_digest(meta)) != _meta_digest(meta):
        raise damaged(path, f"{META} is not what was committed")
    return Entry(path, meta)


def _is_described(meta: Mapping[str, Any]) -> bool:
    """Whether entry.json has the parts that readers count on; those of older versions lack a digest."""
    parts = [meta.get(name) for name in ("inputs", "attributes", "files")]
    files = parts[-1].values() if isinstance(parts[-1], dict) else [None]
    return (
        all(isinstance(part, dict) for part in parts)
        and all(isinstance(file, dict) and {"bytes", "sha256"} <= file.keys() for file in files)
        and isinstance(meta.get("key"), str)
        and isinstance(meta.get("kind"), str)
    )


def _meta_digest(meta: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over all of entry.json but the digest itself."""
    rest = {name: value for name, value in meta.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def list_entries(root: Path, kind: str) -> Iterator[Path]:
    """Folders of all committed entries of a kind below one root."""
    for meta in sorted((Path(root) / kind / LAYOUT).glob(f"*/*/{META}")):
        if not meta.parent.name.startswith("."):
            yield meta.parent


def _entry_path(root: Path, kind: str, key: str) -> Path:
    if kind not in KINDS:
        raise InputError(f"unknown kind of entry {kind!r}, expected one of {', '.join(KINDS)}")
    return root / kind / LAYOUT / key[:2] / key


def _seal(path: Path, kind: str, key: str, inputs: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    """Bring all data to the disk, then describe it in entry.json."""
    files: dict[str, dict[str, Any]] = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        _fsync(file)
        files[file.relative_to(path).as_posix()] = {"bytes": file.stat().st_size, "sha256": file_digest(file)}
    meta = {
        "layout": LAYOUT,
        "kind": kind,
        "key": key,
        "inputs": inputs,
        "attributes": attributes,
        "files": files,
        "entry_bytes": sum(file["bytes"] for file in files.values()),
        "producer": {"weclick": __version__, "zarr": zarr.__version__, "numpy": np.__version__},
        "created_unix_s": int(time.time()),
    }
    meta = json.loads(json.dumps(meta))  # tuples as lists and keys as texts, as they will be read
    (path / META).write_text(json.dumps({**meta, "digest": _meta_digest(meta)}, indent=1))
    _fsync(path / META)
    _fsync(path)


def _commit(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not (final / META).is_file():
            raise
    _fsync(final.parent)


def _sweep_abandoned(final: Path) -> None:
    """Remove what a killed process of this machine left of the same entry."""
    for leftover in final.parent.glob(f".{final.name}.*.tmp"):
        pid = leftover.name.split(".")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(leftover, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
