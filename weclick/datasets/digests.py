"""Content digests of files. They are remembered: an unchanged file is not read again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from weclick.common.disk import is_there, open_plain
from weclick.common.errors import InputError, MissingFileError, full_disk, room_to_write
from weclick.common.progress import progress_bar
from weclick.store import file_digest

WAIT_S = 60
"""How long a writer waits until another one has finished with the memory."""


def file_size(path: Path | str) -> int:
    """Size of a file in bytes.

    Raises:
        FileNotFoundError: there is no such file, or it is a link that leads nowhere.
    """
    return _stat(path).st_size


def file_digests(paths: Iterable[Path], remember: Path | None = None) -> dict[Path, str]:
    """SHA-256 (hex) of the content of files, read in parallel.

    Args:
        paths: files; a path given twice is read once.
        remember: a SQLite file that keeps digests by absolute path, size and time of change
            (nanoseconds). Several processes may use it at once. None: read every file.

    Raises:
        FileNotFoundError: there is no such file, or it is a link that leads nowhere.
        ValueError: `remember` is no memory of digests.
    """
    wanted = {path: _signature(path) for path in dict.fromkeys(paths)}
    known = _recall(remember, wanted) if remember and remember.exists() else {}
    unknown = [path for path in wanted if path not in known]
    with progress_bar("digests", len(unknown), "files") as bar, ThreadPoolExecutor(os.cpu_count()) as pool:

        def read(path: Path) -> str:
            digest = file_digest(path)
            bar.advance()
            return digest

        fresh = dict(zip(unknown, pool.map(read, unknown), strict=True))
    if remember and fresh:
        _keep(remember, [(*wanted[path], digest) for path, digest in fresh.items()])
    return known | fresh


Signature = tuple[str, int, int]
"""Absolute path, size in bytes, time of change in ns: equal signatures are taken for equal content."""


def _signature(path: Path) -> Signature:
    stat = _stat(path)
    return os.path.abspath(path), stat.st_size, stat.st_mtime_ns  # noqa: PTH100 (resolve() would cost a stat a part)


def _stat(path: Path | str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 (a Path for each of 90,000 files takes longer than to ask for its size)
    except FileNotFoundError as error:
        what = "a link that leads nowhere" if Path(path).is_symlink() else "not there"
        raise MissingFileError(
            f"{path}: named by the data set, but {what}; restore the file or drop it from the data set"
        ) from error


def _recall(remember: Path, wanted: dict[Path, Signature]) -> dict[Path, str]:
    query = "SELECT digest FROM digests WHERE path = ? AND size_bytes = ? AND mtime_ns = ?"
    with _memory(remember) as memory:
        found = {path: memory.execute(query, signature).fetchone() for path, signature in wanted.items()}
    return {path: row[0] for path, row in found.items() if row is not None}


def _keep(remember: Path, rows: list[tuple[str, int, int, str]]) -> None:
    with room_to_write(remember):
        remember.parent.mkdir(parents=True, exist_ok=True)
    with _memory(remember) as memory, memory:
        memory.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", rows)


@contextmanager
def _memory(remember: Path) -> Iterator[sqlite3.Connection]:
    if is_there(remember):  # SQLite itself would follow a link, and wait for a pipe
        os.close(open_plain(remember))
    try:
        with closing(sqlite3.connect(remember, timeout=WAIT_S)) as memory:
            memory.execute(
                "CREATE TABLE IF NOT EXISTS digests "
                "(path TEXT PRIMARY KEY, size_bytes INTEGER, mtime_ns INTEGER, digest TEXT) WITHOUT ROWID"
            )
            yield memory
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
            raise full_disk(remember, error) from error
        raise InputError(
            f"{remember}: is no memory of digests ({error}); delete it, it will be made again"
        ) from error
