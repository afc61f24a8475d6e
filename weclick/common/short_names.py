"""Names of files that are put together from names of clips, frames and sources."""

from __future__ import annotations

import hashlib
import os

MAX_NAME_BYTES = 255
"""Longest name of a file that common file systems take."""

_DIGITS = 8


def short_path(name: str, ending: str = "") -> str:
    """A relative path whose parts the file system takes: those that are too long are cut and numbered.

    Args:
        name: parts with slashes between them, without the ending.
        ending: that the caller adds to the last part, e.g. ".png".

    Returns:
        The name as it is if it fits. Else each long part is its beginning, `~` and the start of its SHA-256,
        so that two names with one beginning stay apart.
    """
    *folders, last = name.split("/")
    return "/".join([*(_short(part, 0) for part in folders), _short(last, len(os.fsencode(ending)))])


def _short(part: str, taken_bytes: int) -> str:
    raw, room = os.fsencode(part), MAX_NAME_BYTES - taken_bytes
    if len(raw) <= room:
        return part
    mark = f"~{hashlib.sha256(raw).hexdigest()[:_DIGITS]}"
    return raw[: room - len(mark)].decode(errors="ignore") + mark
