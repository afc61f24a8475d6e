"""Content digests of files. They are remembered: an unchanged file is not read again."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from weclick.common.content import is_young, signature_of
from weclick.common.digest import file_digest
from weclick.common.disk import is_there, open_plain
from weclick.common.errors import (
    DiskFullError,
    InputError,
    MissingFileError,
    UnwritableError,
    full_disk,
    room_to_write,
    unwritable,
)
from weclick.common.progress import progress_bar

P = TypeVar("P", Path, str)

WAIT_S = 60
"""How long a writer waits until another one has finished with the memory."""

CHECK_IT = ""
"""Signature of a file that has to be read again: it equals that of no file."""


class Remembered(NamedTuple):
    """What the memory holds of a file: its signature, its digest then, and the first digest that it had."""

    signature: str
    digest: str
    first: str


class _Seen(NamedTuple):
    """A file as it is now: the name that the memory knows it by, its size, and its signature."""

    name: bytes
    size_bytes: int
    signature: str
    young: bool


def file_digests(paths: Iterable[Path], remember: Path | None = None) -> dict[Path, str]:
    """SHA-256 (hex) of the content of files, read in parallel.

    Args:
        paths: files; a path given twice is read once.
        remember: a SQLite file that keeps digests by absolute path and signature (see `signature_of`). A file
            that changed within the last two seconds is read again next time. Several processes may use it
            at once. None: read every file.

    Raises:
        FileNotFoundError: there is no such file, or it is a link that leads nowhere.
        ValueError: `remember` is no memory of digests.
    """
    now_ns = time.time_ns()
    seen = {path: _look(path, now_ns) for path in dict.fromkeys(paths)}
    memory = _recall(remember, [file.name for file in seen.values()]) if remember else {}
    known = {
        path: memory[file.name].digest
        for path, file in seen.items()
        if file.name in memory and memory[file.name].signature == file.signature
    }
    fresh = _read([path for path in seen if path not in known])
    if remember and fresh:
        _keep(remember, [_row(seen[path], digest, digest) for path, digest in fresh.items()])
    return known | fresh


def edited_files(
    paths: Sequence[str],
    remember: Path | None,
    *,
    digested: Collection[str] = (),
    otherwise: Callable[[], Mapping[str, str]] = dict,
) -> list[tuple[int, str | None]]:
    """What tells that the content of files became another one since the memory first saw them.

    Only files that the memory knows under another signature are read. So this costs nothing for a data set
    that nobody has digested yet, and little where nothing changed. A folder that cannot be written is no
    fault: whoever only looks at a run there reads the same files again next time.

    Args:
        paths: of files, absolute and without `..`; tens of thousands cost as little as they can.
        remember: the memory, which need not be there.
        digested: some of the paths that the memory must know if it is whole.
        otherwise: gives digests by path if the memory does not know all of `digested`. It may be lost.

    Returns:
        For each file its size in bytes, and the SHA-256 (hex) of its content if it is not the first one.

    Raises:
        FileNotFoundError, ValueError: as in `file_digests`.
    """
    now_ns = time.time_ns()
    memory = _recall_all(remember, _stamp(remember)) if remember else {}
    if any(os.fsencode(path) not in memory for path in digested):
        restored = {_name(path): Remembered(CHECK_IT, digest, digest) for path, digest in otherwise().items()}
        memory = {**restored, **memory}
    sizes = {path: _stat(path).st_size for path in paths}
    known = {path: memory[name] for path in paths if (name := os.fsencode(path)) in memory}
    seen = {path: _look(path, now_ns) for path in known}
    fresh = _read([path for path, row in known.items() if row[0] != seen[path].signature])
    if remember and fresh:
        rows = [_row(seen[path], digest, known[path][2]) for path, digest in fresh.items()]
        with suppress(DiskFullError, UnwritableError):
            _keep(remember, rows)
    edits = {path: digest for path, row in known.items() if (digest := fresh.get(path, row[1])) != row[2]}
    return [(sizes[path], edits.get(path)) for path in paths]


def _read(paths: list[P]) -> dict[P, str]:
    if not paths:
        return {}
    with progress_bar("digests", len(paths), "files") as bar, ThreadPoolExecutor(os.cpu_count()) as pool:

        def read(path: P) -> str:
            digest = file_digest(Path(path))
            bar.advance()
            return digest

        return dict(zip(paths, pool.map(read, paths), strict=True))


def _look(path: Path | str, now_ns: int) -> _Seen:
    status = _stat(path)
    signature = " ".join(map(str, signature_of(status)))  # as text: an inode may not fit SQLite's integers
    return _Seen(_name(path), status.st_size, signature, is_young(status, now_ns))


def _name(path: Path | str) -> bytes:
    """As bytes: a name may be in any encoding."""
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 (resolve() would cost a stat a part)


def _row(file: _Seen, digest: str, first: str) -> tuple[bytes, str, str, str]:
    return file.name, CHECK_IT if file.young else file.signature, digest, first


def _stat(path: Path | str) -> os.stat_result:
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each of 90,000 files takes longer than to ask for its size)
    except FileNotFoundError as error:
        what = "a link that leads nowhere" if Path(path).is_symlink() else "not there"
        raise MissingFileError(
            f"{path}: named by the data set, but {what}; restore the file or drop it from the data set"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: named by the data set, but no regular file; put a file there, or drop it")
    return status


def _recall(remember: Path, names: Iterable[bytes]) -> dict[bytes, Remembered]:
    if not remember.exists():
        return {}
    query = "SELECT signature, digest, first FROM contents WHERE path = ?"
    with memory_of_files(remember) as memory:
        if not memory.execute("SELECT 1 FROM sqlite_master WHERE name = 'contents'").fetchone():
            return {}  # of a version that trusted sizes and times
        found = ((name, memory.execute(query, (name,)).fetchone()) for name in names)
        return {name: Remembered(*row) for name, row in found if row is not None}


@lru_cache(maxsize=1)
def _recall_all(remember: Path, _: object) -> Mapping[bytes, Remembered]:
    """All that a memory holds; the second argument tells whether it has to be read again, see `_stamp`."""
    if not remember.exists():
        return {}
    with memory_of_files(remember) as memory:
        if not memory.execute("SELECT 1 FROM sqlite_master WHERE name = 'contents'").fetchone():
            return {}  # of a version that trusted sizes and times
        rows = memory.execute("SELECT path, signature, digest, first FROM contents")
        return {name: Remembered(*row) for name, *row in rows}


def _stamp(remember: Path) -> object:
    """Equal for equal content; of a memory that is missing or young, equal to nothing."""
    if not remember.exists():
        return object()
    status = remember.stat()
    return object() if is_young(status, time.time_ns()) else signature_of(status)


def _keep(remember: Path, rows: list[tuple[bytes, str, str, str]]) -> None:
    with room_to_write(remember):
        remember.parent.mkdir(parents=True, exist_ok=True)
    with memory_of_files(remember) as memory, memory:
        memory.execute("DROP TABLE IF EXISTS digests")  # of a version that trusted sizes and times
        memory.execute(
            "CREATE TABLE IF NOT EXISTS contents "
            "(path BLOB PRIMARY KEY, signature TEXT, digest TEXT, first TEXT) WITHOUT ROWID"
        )
        memory.executemany(
            "INSERT INTO contents VALUES (?, ?, ?, ?) ON CONFLICT (path) DO UPDATE "
            "SET signature = excluded.signature, digest = excluded.digest",
            rows,
        )


@contextmanager
def memory_of_files(remember: Path) -> Iterator[sqlite3.Connection]:
    """The SQLite file that remembers what was found in files.

    Raises:
        DiskFullError: there is no room for it.
        InputError: it is no such file.
    """
    if is_there(remember):  # SQLite itself would follow a link, and wait for a pipe
        os.close(open_plain(remember))
    try:
        with closing(sqlite3.connect(remember, timeout=WAIT_S)) as memory:
            yield memory
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None) or 0
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
            raise full_disk(remember, error) from error
        if code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise unwritable(remember, error, "it or its folder is read-only: ask who keeps it") from error
        raise InputError(
            f"{remember}: is no memory of digests ({error}); delete it, it will be made again"
        ) from error
