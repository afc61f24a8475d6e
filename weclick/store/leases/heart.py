"""Signs of life: one thread touches what this process holds in a root, so that others leave it alone."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from weclick.common.disk import open_plain

BEAT_S = 10.0
"""Seconds from one sign of life to the next."""

_held: dict[Path, bytes | None] = {}
"""Leases with what they say, and workspaces with None."""

_heart = threading.Thread()
_starting = threading.Lock()


def hold(path: Path, content: bytes | None = None) -> None:
    """Touch a path from now on.

    Args:
        path: of a lease, or of a folder.
        content: what the lease says. Another lease in its place is not touched.
    """
    global _heart
    _held[path] = content
    with _starting:
        if not _heart.is_alive():  # also after a fork, since that does not copy threads
            _heart = threading.Thread(target=_beat, name="leases", daemon=True)
            _heart.start()


def let_go(path: Path) -> bytes | None:
    """Touch a path no more. Returns what `hold` was told that it says; None if it was not held."""
    return _held.pop(path, None)


def read_lease(path: Path, at_most: int) -> tuple[bytes, int]:
    """The first bytes of a lease, and when it was last touched (ns, by the file system's clock).

    Opening the file makes a share's client ask its server again.

    Raises:
        NotPlainFileError: something else lies there.
        OSError: there is no such file, or it cannot be read.
    """
    with os.fdopen(open_plain(path), "rb") as file:
        return file.read(at_most), os.fstat(file.fileno()).st_mtime_ns


def _beat() -> None:
    while True:
        time.sleep(BEAT_S)
        for path, content in tuple(_held.items()):
            with suppress(OSError):  # it was taken over, or the share does not answer
                if content is None or read_lease(path, len(content) + 1)[0] == content:
                    os.utime(path)
