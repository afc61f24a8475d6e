"""Arrays of an entry. Each read checks the file first, since zarr reads a missing chunk as zeros."""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Mapping
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from weclick.common.digest import file_digest
from weclick.common.disk import blocks_of, is_file, is_folder, open_plain, read_plain, real_path, surely
from weclick.common.errors import UnreadableError
from weclick.store.meta import EntryMissingError, damaged, is_safe_name
from weclick.store.zarr_json import ZARR_JSON_BYTES, Shard, check_zarr_json

INDEX_BYTES, ABSENT = 16, 2**64 - 1
"""Of the index of a file of chunks: bytes for each chunk, and what stands for one that is left out."""

_BLOSC_HEAD = struct.Struct("<4x3I")
"""Of each chunk: bytes decoded, bytes of a block, bytes encoded."""

MOST_SOUND = 2**21
"""Files of which is remembered that they are sound, at about 100 bytes each."""

_SOUND: set[bytes] = set()
"""Digests of checks that held: of a file as it lay there, and of what was expected of it."""

Files = Mapping[str, Mapping[str, Any]]
"""The part `files` of an entry.json."""


class StoredArray:
    """One array of an entry, read-only. Its first axis counts files: step t lies in `c/t/0/.../0`.

    Args:
        entry: folder of the entry.
        name: of the array.
        files: the part `files` of the entry's entry.json.
        owner: an object that the array keeps alive.

    Raises:
        DamagedEntryError: the array's description is missing or altered.
    """

    def __init__(self, entry: Path, name: str, files: Files, owner: object = None):
        check_array(entry, name, files)
        self._entry, self._name, self._files, self._owner = entry, name, files, owner
        import zarr  # its import takes as long as that of the rest of the store

        try:
            self._array = surely(entry / name, lambda: zarr.open_array(entry / name, mode="r"))
        except UnreadableError:
            raise
        except (KeyError, OSError, ValueError, TypeError) as error:
            raise damaged(entry, f"its array {name!r} cannot be opened ({error})") from error
        self.shape, self.dtype, self.attrs = self._array.shape, self._array.dtype, self._array.attrs

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, step: int) -> np.ndarray:
        """One step of the first axis.

        Raises:
            DamagedEntryError: its file is missing, altered, or cannot be decoded.
        """
        step = step + len(self) if step < 0 else step
        check_step(self._entry, self._name, step, len(self.shape), self._files)
        try:
            return surely(self._entry / self._name, lambda: np.asarray(self._array[step]))
        except (IndexError, UnreadableError, MemoryError):  # these say nothing about the file
            raise
        except Exception as error:  # every codec raises errors of its own
            raise damaged(self._entry, f"{self._name}[{step}] cannot be decoded ({error})") from error


def check_array(entry: Path, name: str, files: Files) -> dict[str, Any]:
    """Check the small descriptions of an array and its group before anything acts on them.

    Returns:
        What the array's zarr.json holds, as it was checked.

    Raises:
        DamagedEntryError: one is missing, altered or was never committed, or holds what weclick never writes.
    """
    content = b""
    for path in ("zarr.json", f"{name}/zarr.json"):
        if path not in files or not is_safe_name(name):
            raise damaged(entry, f"it holds no array {name!r}")
        if files[path]["bytes"] > ZARR_JSON_BYTES:
            raise damaged(
                entry, f"{path} has {files[path]['bytes']} bytes, at most {ZARR_JSON_BYTES} are read"
            )
        check_file(entry, path, files)
        try:
            content = read_plain(entry / path, at_most=ZARR_JSON_BYTES + 1)
            check_zarr_json(content)
        except ValueError as error:
            raise damaged(entry, f"{path} was refused: {error}") from error
    described: dict[str, Any] = json.loads(content)
    return described


def check_step(entry: Path, name: str, step: int, axes: int, files: Files) -> None:
    """Check that the file of one step of an array is there and whole. A step of zeros has no file.

    Raises:
        DamagedEntryError: it is missing, altered, or was never committed.
    """
    path = "/".join((name, "c", str(step), *["0"] * (axes - 1)))
    if path in files:
        check_file(entry, path, files, shard_of=f"{name}/zarr.json")
    elif os.path.lexists(entry / path):
        raise damaged(entry, f"{path} is not listed, so it was added later")


def check_file(entry: Path, name: str, files: Files, *, shard_of: str = "") -> None:
    """Check that a file is what was committed: its size each time, its content once until it is touched.

    Args:
        entry: folder of the entry.
        name: of the file in it.
        files: the part `files` of the entry's entry.json.
        shard_of: the zarr.json that the file has to fit, if it is one step of an array.

    Raises:
        DamagedEntryError: it is missing, altered, or not a plain file inside the entry.
        EntryMissingError: the whole entry is gone.
        UnreadableError: the disk or share does not let it be read now.
    """
    expected = files[name]
    try:
        path = f"{entry}/{name}"  # runs at each read, and pathlib joins paths more slowly
        found = surely(path, partial(os.lstat, path))
    except UnreadableError:
        raise
    except OSError as error:
        if not is_folder(entry):
            raise EntryMissingError(
                f"{entry}: this entry was there and is gone ({error.strerror}): its root was unmounted, or "
                "somebody deleted it; bring the root back, or run the stage again"
            ) from error
        raise damaged(entry, f"{name} is missing, expected {expected['bytes']} bytes") from error
    if stat.S_ISREG(found.st_mode) and found.st_size != expected["bytes"]:
        raise damaged(entry, f"{name} has {found.st_size} bytes, expected {expected['bytes']}")
    sha256, crc32c = expected["sha256"], expected.get("crc32c")
    touched = f"{found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}"
    shard = files[shard_of]["sha256"] if shard_of else ""
    checked = blake2b(f"{path}\0{touched} {sha256} {crc32c} {shard}".encode(), digest_size=16).digest()
    if checked in _SOUND:
        return
    layout = _layout(entry, shard_of, shard) if shard_of else None
    if fault := _fault(entry, name, crc32c, sha256, layout):
        raise damaged(entry, f"{name} {fault}")
    if len(_SOUND) >= MOST_SOUND:
        _SOUND.clear()
    _SOUND.add(checked)


def is_plain(entry: Path, name: str) -> bool:
    """Whether a file of an entry is a plain file that no symbolic link leads to."""
    path = entry / name
    whole = surely(path, partial(real_path, path)) == surely(entry, partial(real_path, entry)) / name
    return whole and is_file(path)


def _fault(entry: Path, name: str, crc32c: int | None, sha256: str, layout: Shard | None) -> str:
    """What is wrong with a file of the right size, or ""."""
    if not is_plain(entry, name):
        return "is no plain file of this entry; symbolic links are refused"
    same = file_digest(entry / name) == sha256 if crc32c is None else _crc32c(entry / name) == crc32c
    if not same:
        return "is not what was committed"
    return _shard_fault(entry / name, layout) if layout else ""


@lru_cache(maxsize=4096)
def _layout(entry: Path, name: str, sha256: str) -> Shard | None:
    """The layout of an array's files, by its zarr.json, which `check_array` compared with this digest."""
    return check_zarr_json(read_plain(entry / name))


def _shard_fault(path: Path, layout: Shard) -> str:
    """How a file of chunks misses its layout, or "". Readers allocate what a chunk promises."""
    opened = surely(path, partial(open_plain, path))
    try:
        size = os.fstat(opened).st_size
        index_at = size - INDEX_BYTES * layout.chunks - 4  # its checksum follows
        if index_at < 0:
            return f"has {size} bytes, too few for the index of {layout.chunks} chunks"
        index = np.frombuffer(_at(path, opened, size - 4 - index_at, index_at), "<u8").reshape(-1, 2)
        for offset, length in index.tolist():
            if offset == length == ABSENT:
                continue
            if offset + length > index_at:
                return f"has a chunk of {length} bytes at {offset}, beyond its {index_at} bytes of chunks"
            head = _at(path, opened, _BLOSC_HEAD.size, offset)
            decoded, block, encoded = _BLOSC_HEAD.unpack(head) if len(head) == _BLOSC_HEAD.size else (0, 0, 0)
            if (decoded, encoded) != (layout.chunk_bytes, length) or block > decoded:
                return f"has a chunk that promises {decoded} bytes, expected {layout.chunk_bytes}"
    finally:
        os.close(opened)
    return ""


def _at(path: Path, opened: int, count: int, offset: int) -> bytes:
    return surely(path, partial(os.pread, opened, count, offset))


def _crc32c(path: Path) -> int:
    crc = 0
    for block in blocks_of(path):
        crc = google_crc32c.extend(crc, block)
    return crc
