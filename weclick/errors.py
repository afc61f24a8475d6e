"""What goes wrong by what a user gave: one family of errors, whose texts name the path and what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when there is no room: on the disk, in the quota, in the largest file allowed."""


class InputError(ValueError):
    """A file, a value or a folder is not as it should be; the text says what was found and what to do."""


class MissingFileError(FileNotFoundError, InputError):
    """A file or folder that something names is not there."""


class DiskFullError(OSError, InputError):
    """There was no room to write; nothing half-written stays."""


@contextmanager
def room_to_write(path: Path) -> Iterator[None]:
    """Writing to `path` inside the block; the system's bare word for a full disk becomes a full sentence.

    Raises:
        DiskFullError: the block found no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise full_disk(path, error) from error


def full_disk(path: Path, error: Exception) -> DiskFullError:
    """The error for a write to `path` that found no room; it says how much is free there."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free_mib = shutil.disk_usage(there).free / 2**20
    return DiskFullError(
        f"{path}: there is no room to write it ({error}); {free_mib:.1f} MiB are free in {there}, and "
        "nothing half-written was left; free some space, or name another folder (cache.roots, results, "
        "data.root), and run again: what is finished stays"
    )
