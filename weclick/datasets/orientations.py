"""How frames are to be turned, by their content. It is remembered: an unchanged file is not opened again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from weclick.datasets.digests import memory_of_files
from weclick.manifest.read import file_orientation


def file_orientations(root: Path, digests: Mapping[str, str], remember: Path | None = None) -> dict[str, int]:
    """How the pixels of images and videos are to be turned, 1..8 as in EXIF.

    Args:
        root: folder of the data set.
        digests: files by their name in the folder, and the SHA-256 (hex) of their content.
        remember: the memory of digests; it keeps orientations too. None: open every file.

    Raises:
        InputError: a video cannot be read, or `remember` is no memory of digests.
    """
    known = _recall(remember) if remember and remember.exists() else {}
    unknown = [(digest, name) for name, digest in digests.items() if digest not in known]
    workers = os.cpu_count() or 1

    def look(part: list[tuple[str, str]]) -> dict[str, int]:
        return {digest: file_orientation(root / name) for digest, name in part}

    fresh: dict[str, int] = {}
    with ThreadPoolExecutor(workers) as pool:  # one task a thread: a header takes as long as a task's start
        for part in pool.map(look, [unknown[i::workers] for i in range(workers)]):
            fresh |= part
    if remember and fresh:
        with memory_of_files(remember) as memory, memory:
            memory.execute(_TABLE)
            memory.executemany("INSERT OR REPLACE INTO orientations VALUES (?, ?)", fresh.items())
    known |= fresh
    return {name: known[digest] for name, digest in digests.items()}


_TABLE = (
    "CREATE TABLE IF NOT EXISTS orientations (digest TEXT PRIMARY KEY, orientation INTEGER) WITHOUT ROWID"
)


def _recall(remember: Path) -> dict[str, int]:
    """What the memory knows; numbers that are no orientation count as unknown."""
    with memory_of_files(remember) as memory:
        if not memory.execute("SELECT 1 FROM sqlite_master WHERE name = 'orientations'").fetchone():
            return {}
        rows = memory.execute("SELECT digest, orientation FROM orientations").fetchall()
    return {digest: orientation for digest, orientation in rows if orientation in range(1, 9)}
