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

    Hidden files and those that never hold pictures (texts, tables, archives) are left out.
    """
    if not folder.is_dir():
        return
    unread = sorted(
        path.name
        for path in folder.iterdir()
        if path.name[0] != "." and path.suffix.lower() not in (*suffixes, *_SIDECARS) and path.is_file()
    )
    if unread:
        more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
        print(
            f"weclick: warning: {folder}: {', '.join(unread[:3])}{more}: not read, since the ending is none "
            f"of {' '.join(suffixes)}; convert or rename what you miss",
            file=sys.stderr,
        )
