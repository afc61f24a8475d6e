"""Errors in what a user gave: one family. Their texts name the path and say what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weclick.common.words import count_bytes

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The system's errors for no room: on the disk, in the quota, in the largest allowed file."""

_FORBIDDEN = "you have no right to write there: ask who keeps that folder"
_SILENT = "its disk or share does not answer: bring it back"
_REFUSALS = {
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: "its file system is mounted read-only: mount it writable",
    errno.EIO: _SILENT,
    errno.ESTALE: _SILENT,
    errno.ENOTCONN: _SILENT,
    errno.ETIMEDOUT: _SILENT,
    errno.EHOSTDOWN: _SILENT,
}


class InputError(ValueError):
    """A file, a value or a folder is not as it should be. The text says what was found and what to do."""


class MissingFileError(FileNotFoundError, InputError):
    """A named file or folder does not exist."""


class DiskFullError(OSError, InputError):
    """There was no room to write. Nothing half-written stays."""


class UnwritableError(OSError, InputError):
    """Writing to a folder is forbidden, or its disk or share has gone. Nothing half-written stays."""


class UnreadableError(OSError):
    """The disk, the share or the system does not let a file be read now. That says nothing about the file.

    It is no `InputError`, so that whoever takes a `ValueError` for damage does not take this one.
    """


class NotPlainFileError(OSError, InputError):
    """A link, folder, pipe, socket or device lies where a file is expected."""


def out_of_memory(error: BaseException) -> InputError | None:
    """The error for a lack of memory, by what Python, numpy or torch raised; None for other errors."""
    told = " ".join(str(error).split())[:160]
    lacking = isinstance(error, RuntimeError) and ("out of memory" in told or "can't allocate memory" in told)
    if not isinstance(error, MemoryError) and not lacking:
        return None
    return InputError(
        f"there is not enough memory ({told or 'the system gave no more'}); run fewer jobs at once "
        "(--cores), make batch_size or frames smaller (data.shrink), or look for a file that is too large"
    )


@contextmanager
def room_to_write(path: Path) -> Iterator[None]:
    """Write to `path` inside the block. The system's terse errors of a disk become full sentences.

    Raises:
        DiskFullError: the block found no room.
        UnwritableError: writing there is forbidden, or the disk or share does not answer.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise full_disk(path, error) from error
        if error.errno in _REFUSALS and _concerns(error, path):
            raise unwritable(path, error, _REFUSALS[error.errno]) from error
        raise


def unwritable(path: Path, error: object, what_to_do: str) -> UnwritableError:
    """The error for a refused write to `path`."""
    return UnwritableError(
        f"{path}: cannot be written ({error}); {what_to_do}, or name another folder (cache.roots, results, "
        "data.root), and run again: what is finished stays"
    )


def _concerns(error: OSError, path: Path) -> bool:
    """Whether an error may concern `path`; False if it names a file elsewhere, which was only read."""
    if not isinstance(error.filename, str) or error.filename2:
        return True
    named = Path(error.filename).absolute()
    return named.is_relative_to(path.absolute().parent) or path.absolute().is_relative_to(named)


def full_disk(path: Path, error: Exception) -> DiskFullError:
    """The error for a write to `path` that found no room. It says how much is free there."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free = count_bytes(shutil.disk_usage(there).free)
    return DiskFullError(
        f"{path}: there is no room to write it ({error}); {free} are free in {there}, and nothing "
        "half-written was left; free some space, or name another folder (cache.roots, results, data.root), "
        "and run again: what is finished stays"
    )
