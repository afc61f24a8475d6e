"""Arrays of an entry. Each read checks the file first, since zarr reads a missing chunk as zeros."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from weclick.common.disk import blocks_of, is_file, is_folder, read_plain, surely
from weclick.common.errors import UnreadableError
from weclick.store.keys import file_digest
from weclick.store.meta import EntryMissingError, damaged, is_safe_name
from weclick.store.zarr_json import ZARR_JSON_BYTES, check_zarr_json

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
        except (IndexError, UnreadableError):
            raise
        except Exception as error:  # every codec raises errors of its own
            raise damaged(self._entry, f"{self._name}[{step}] cannot be decoded ({error})") from error


def check_array(entry: Path, name: str, files: Files) -> None:
    """Check the small descriptions of an array and its group before anything acts on them.

    Raises:
        DamagedEntryError: one is missing, altered or was never committed, or holds what weclick never writes.
    """
    for path in ("zarr.json", f"{name}/zarr.json"):
        if path not in files or not is_safe_name(name):
            raise damaged(entry, f"it holds no array {name!r}")
        if files[path]["bytes"] > ZARR_JSON_BYTES:
            raise damaged(
                entry, f"{path} has {files[path]['bytes']} bytes, at most {ZARR_JSON_BYTES} are read"
            )
        check_file(entry, path, files)
        try:
            check_zarr_json(read_plain(entry / path, at_most=ZARR_JSON_BYTES + 1))
        except ValueError as error:
            raise damaged(entry, f"{path} was refused: {error}") from error


def check_step(entry: Path, name: str, step: int, axes: int, files: Files) -> None:
    """Check that the file of one step of an array is there and whole. A step of zeros has no file.

    Raises:
        DamagedEntryError: it is missing, altered, or was never committed.
    """
    path = "/".join((name, "c", str(step), *["0"] * (axes - 1)))
    if path in files:
        check_file(entry, path, files)
    elif os.path.lexists(entry / path):
        raise damaged(entry, f"{path} is not listed, so it was added later")


def check_file(entry: Path, name: str, files: Files) -> None:
    """Check that a file is what was committed: its size each time, its content once until it is touched.

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
    seen = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    fault = _fault(entry, name, seen, expected.get("crc32c"), expected["sha256"])
    if fault:
        raise damaged(entry, f"{name} {fault}")


def is_plain(entry: Path, name: str) -> bool:
    """Whether a file of an entry is a plain file that no symbolic link leads to."""
    path = entry / name
    whole = surely(path, path.resolve) == surely(entry, entry.resolve) / name
    return whole and is_file(path)


@lru_cache(maxsize=65536)
def _fault(entry: Path, name: str, seen: tuple[int, ...], crc32c: int | None, sha256: str) -> str:
    """What is wrong with a file of the right size, or "". `seen` changes when the file does."""
    if not is_plain(entry, name):
        return "is no plain file of this entry; symbolic links are refused"
    same = file_digest(entry / name) == sha256 if crc32c is None else _crc32c(entry / name) == crc32c
    return "" if same else "is not what was committed"


def _crc32c(path: Path) -> int:
    crc = 0
    for block in blocks_of(path):
        crc = google_crc32c.extend(crc, block)
    return crc
