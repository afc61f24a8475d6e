"""Small files: they are written whole or not at all, and errors of reading say what to do."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from weclick.common.bounded_json import SMALLER_FILES, parse_json, read_bounded
from weclick.common.disk import check_plain, open_plain, real_path, remove_tree
from weclick.common.errors import (
    InputError,
    MissingFileError,
    NotPlainFileError,
    UnreadableError,
    room_to_write,
)
from weclick.common.schemas import schema_fault

HIDDEN_END = ".tmp"


def is_inside(name: str) -> bool:
    """Whether a relative name cannot leave its folder: it is not absolute, and no part of it is `..`."""
    return bool(name) and name[0] != "/" and "\0" not in name and ".." not in name.split("/")


def check_readable(names: Iterable[str]) -> None:
    """Check that this process reads names of files as all others do, in UTF-8.

    Raises:
        InputError: the locale has another encoding, and a name has other letters than those of ASCII.
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8" and (strange := next((name for name in names if not name.isascii()), None)):
        raise InputError(
            f"{strange!r}: this locale reads names of files in {encoding}, but others read these letters "
            "otherwise; set the environment variable PYTHONUTF8=1, and run again"
        )


def file_inside(folder: Path, name: str) -> Path:
    """The path of a file of that name below a folder.

    Raises:
        InputError: an absolute name, `..` or a symbolic link leads elsewhere.
    """
    path = folder / name
    if not is_inside(name) or not real_path(path).is_relative_to(real_path(folder)):
        raise InputError(
            f"{path}: leads out of {folder}, so it is not written; give clips and frames relative names "
            "without '..', and remove symbolic links that lead out of the folder"
        )
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to fill. It replaces `path` at once when the block ends without an error.

    Readers see the old file or the new one, never half of it. If several processes write, the last one wins.
    The unfinished file lies hidden in the same folder, under a random name that no other process opens. It
    follows no symbolic link and replaces nothing of that name. Nothing is synced to the disk, so a power cut
    may still cost the file.

    A killed process leaves its hidden file. It harms nobody and nothing reads it. `remove_unfinished` removes
    it if a caller knows that nobody writes now. Otherwise it stays until a person deletes it.

    Args:
        path: of the file; its folder is made.

    Yields:
        The hidden file, open for writing in binary. A writer that needs a path may open its `name` instead.
        Tell it the format, since that name does not end as `path` does.

    Raises:
        NotPlainFileError: a folder lies there.
        DiskFullError, UnwritableError: as in `room_to_write`; the old file stays.
    """
    path = Path(path)
    if not path.name:  # . and / are folders
        check_plain(path)
    with room_to_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f"{_hidden_start(path)}{token_hex(8)}{HIDDEN_END}")
        with open(hidden, "xb", opener=_open_no_link) as file:  # outside `try`: a file found is not ours
            try:
                yield file
                file.close()
                _put(hidden, path)
            finally:
                hidden.unlink(missing_ok=True)


@contextmanager
def filled_whole(folder: Path) -> Iterator[Path]:
    """A hidden folder to fill with files. They move into `folder` if the block ends without an error.

    Files of their names are replaced, others stay. Only a process that is killed while they move leaves some
    of them, each whole.

    Args:
        folder: made at the end if it is missing.

    Raises:
        DiskFullError, UnwritableError: as in `room_to_write`.
    """
    with room_to_write(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        hidden = folder.with_name(f"{_hidden_start(folder)}{token_hex(8)}{HIDDEN_END}")
        hidden.mkdir()
        try:
            yield hidden
            folder.mkdir(exist_ok=True)
            for file in sorted(hidden.iterdir()):
                _put(file, folder / file.name)
        finally:
            remove_tree(hidden)


def _put(hidden: Path, path: Path) -> None:
    try:
        hidden.replace(path)
    except IsADirectoryError:
        check_plain(path)
        raise


def remove_unfinished(path: Path) -> None:
    """Remove what killed writers left beside a file (see `written_whole`). Call it only if nobody writes."""
    for leftover in path.parent.glob(f"{escape(_hidden_start(path))}*{HIDDEN_END}"):
        leftover.unlink(missing_ok=True)


def _hidden_start(path: Path) -> str:
    return f".{path.name[:48]}."  # names have at most 255 bytes, and a letter up to 4


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)  # minus the umask, as plain `open` does


def write_text(path: Path, text: str) -> None:
    """Write a small file. Readers see the old text or the new one, see `written_whole`.

    Raises:
        DiskFullError, UnwritableError: as in `room_to_write`; the old file stays.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, for any content that fits into memory."""
    with written_whole(path) as file:
        file.write(content)


def open_to_change(path: Path) -> BinaryIO:
    """Open a file that stays where it is: to append to, or to lock. It is made if missing, and never cut.

    Raises:
        NotPlainFileError: a link, pipe or the like lies there; it is neither followed nor waited for.
        DiskFullError, UnwritableError: as in `room_to_write`.
    """
    with room_to_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(open_plain(path, os.O_RDWR | os.O_APPEND | os.O_CREAT), "ab")


@contextmanager
def alone(path: Path, waiting: str) -> Iterator[None]:
    """Be the only process of this machine in such a block. A killed process frees it.

    Args:
        path: of the file that is locked; see `open_to_change`.
        waiting: a line for stderr if another process has to end first.
    """
    with open_to_change(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def hold(path: Path, busy: str) -> BinaryIO:
    """Lock a file until the file that is given back is closed, or this process ends, however it ends.

    Args:
        path: of the file; see `open_to_change`.
        busy: what the error says if another process holds it.

    Raises:
        InputError: another process holds it. One of another machine is seen where the share passes locks on.
    """
    lock = open_to_change(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InputError(busy) from None
    return lock


def read_json(path: Path, stage: str, known: str = "") -> dict[str, Any]:
    """The JSON object that a stage wrote.

    Args:
        path: of the file.
        stage: the name of the stage, for errors.
        known: its name in data_schema/results.schema.json, to check it by; empty checks nothing.

    Raises:
        MissingFileError: there is no such file.
        UnreadableError: the disk or share does not let it be read now.
        InputError: it holds something else.
    """
    with _reading(path, stage):
        raw = parse_json(read_bounded(path, todo=SMALLER_FILES))
    if not isinstance(raw, dict):
        raise _not_as_written(path, stage, f"holds a {type(raw).__name__}, expected an object")
    if known and (fault := schema_fault({known: raw}, "results")):
        raise _not_as_written(path, stage, f"is not what that stage writes ({fault})")
    return raw


def read_lines(path: Path, stage: str, known: str) -> list[dict[str, Any]]:
    """The JSON objects that a stage wrote line by line, without an unfinished last line.

    Args, Raises:
        As in `read_json`.
    """
    with _reading(path, stage):
        data = read_bounded(path, todo=SMALLER_FILES)
        lines = [parse_json(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
    if fault := schema_fault({known: lines}, "results"):
        raise _not_as_written(path, stage, f"is not what that stage writes ({fault})")
    return lines


@contextmanager
def _reading(path: Path, stage: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such file; the {stage} stage makes it") from error
    except (UnreadableError, NotPlainFileError):  # these say nothing of what it holds
        raise
    except (OSError, ValueError) as error:
        raise _not_as_written(path, stage, f"cannot be read as JSON ({error})") from error


def _not_as_written(path: Path, stage: str, what: str) -> InputError:
    return InputError(f"{path}: {what}; delete it and run the {stage} stage again")
