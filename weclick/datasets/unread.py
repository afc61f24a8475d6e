"""Files beside the clips that no reader takes: they are named, so that nobody misses them silently."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_SIDECARS = (
    *(".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".md", ".pdf", ".html", ".srt", ".vtt", ".ass"),
    *(".thm", ".lrv", ".gpx", ".db", ".ini", ".log", ".md5", ".sha256", ".zip", ".gz", ".py", ".sh"),
)
"""Endings of what people and cameras keep beside pictures; nobody expects frames in these."""


@cache
def tell_unread(folder: Path, suffixes: Sequence[str]) -> None:
    """Name the files of a folder that have none of the suffixes, once, in a line on stderr.

    Hidden files and those that never hold pictures (texts, tables, archives) are left out. Folders inside
    that hold files with one of the suffixes are named too.
    """
    if not folder.is_dir():
        return
    others = [
        path
        for path in sorted(folder.iterdir())
        if path.name[0] != "." and path.suffix.lower() not in (*suffixes, *_SIDECARS)
    ]
    unread = [path.name for path in others if path.is_file()]
    deeper = [path.name for path in others if path.is_dir() and _holds(path, suffixes)]
    if deeper:
        more = f" and {len(deeper) - 3} more" if len(deeper) > 3 else ""
        print(
            f"weclick: warning: {folder}: the folders {', '.join(deeper[:3])}{more} lie too deep, and are "
            "not read; move what you miss one folder up",
            file=sys.stderr,
        )
    if unread:
        more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
        print(
            f"weclick: warning: {folder}: {', '.join(unread[:3])}{more}: not read, since the ending is none "
            f"of {' '.join(suffixes)}; convert or rename what you miss",
            file=sys.stderr,
        )


def _holds(folder: Path, suffixes: Sequence[str]) -> bool:
    return any(path.suffix.lower() in suffixes for path in folder.iterdir())
