"""Arrays of an entry, read only after a look at the files: a missing chunk would read as zeros."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from weclick.errors import InputError
from weclick.store.keys import file_digest


class DamagedEntryError(InputError):
    """An entry of the store is no longer what was committed."""


class StoredArray:
    """One array of an entry, read-only. Its first axis counts files: step t lies in `c/t/0/.../0`.

    Args:
        entry: folder of the entry.
        name: of the array.
        files: `files` of the entry's entry.json.

    Raises:
        DamagedEntryError: the array's description is missing or altered.
    """

    def __init__(self, entry: Path, name: str, files: Mapping[str, Mapping[str, Any]]):
        check_array(entry, name, files)
        self._entry, self._name, self._files = entry, name, files
        try:
            found = zarr.open_group(entry, mode="r")[name]
            assert isinstance(found, zarr.Array)
        except (KeyError, OSError, ValueError, TypeError) as error:
            raise damaged(entry, f"its array {name!r} cannot be opened ({error})") from error
        self._array = found
        self.shape, self.dtype, self.attrs = found.shape, found.dtype, found.attrs

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, step: int) -> np.ndarray:
        """One step of the first axis.

        Raises:
            DamagedEntryError: its file is missing, cut short, or cannot be decoded.
        """
        check_step(self._entry, self._name, step, len(self.shape), self._files)
        try:
            return np.asarray(self._array[step])
        except IndexError:
            raise
        except Exception as error:  # every codec has its own words
            raise damaged(self._entry, f"{self._name}[{step}] cannot be decoded ({error})") from error


def check_array(entry: Path, name: str, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare the small descriptions of an array and its group with their digests.

    Raises:
        DamagedEntryError: one is missing, altered, or was never committed.
    """
    for path in ("zarr.json", f"{name}/zarr.json"):
        if path not in files:
            raise damaged(entry, f"it holds no array {name!r}")
        if not (entry / path).is_file():
            raise damaged(entry, f"{path} is missing")
        if file_digest(entry / path) != files[path]["sha256"]:
            raise damaged(entry, f"{path} is not what was committed")


def check_step(entry: Path, name: str, step: int, axes: int, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Look whether the file of one step of an array is there, whole; one of zeros alone has none.

    Raises:
        DamagedEntryError: it is missing or of another size.
    """
    path = "/".join((name, "c", str(step), *["0"] * (axes - 1)))
    if path not in files:
        return
    expected = files[path]["bytes"]
    try:
        found = (entry / path).stat().st_size
    except OSError as error:
        raise damaged(entry, f"{path} is missing, expected {expected} bytes") from error
    if found != expected:
        raise damaged(entry, f"{path} has {found} bytes, expected {expected}")


def damaged(entry: Path, what: str) -> DamagedEntryError:
    """The error for an entry of which something is not as committed."""
    return DamagedEntryError(
        f"{entry}: damaged entry: {what}; delete this folder and run again, then the stage makes it anew"
    )
