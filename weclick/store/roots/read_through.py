"""A bounded folder of entries fetched from buckets. An entry stays as long as a process uses it.

A process marks the entries that it uses by shared locks on single bytes of one file. They cost one open file,
and the kernel releases them when a process is killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from weclick.common.disk import is_file, open_plain
from weclick.common.errors import InputError
from weclick.common.words import count_bytes
from weclick.store.entries import Entry
from weclick.store.meta import KINDS, META
from weclick.store.roots.local_root import LocalRoot, give_rights, make_folders
from weclick.store.roots.transfer import Root, copy_entry
from weclick.store.signatures import SIGNED, Trust, carry_signatures

FETCHED = "fetched"
"""The default folder of fetched entries, in the last root."""

MAX_GIB = 100.0
LEFT_AFTER_EVICTION = 0.9
"""Eviction goes down to this share of the bound, so that not every fetch has to evict."""

LOOKS_PER_FILLING = 16
"""How often a process counts the folder while it fills it, since others may be filling it, too."""


class ReadThrough:
    """Fetches whole entries on first use, and removes the longest unused ones.

    Args:
        path: folder of the fetched entries, laid out as a root.
        max_gib: GiB that it may hold, > 0.
    """

    def __init__(self, path: Path, max_gib: float = MAX_GIB):
        self._root, self._max_bytes = LocalRoot(path), int(max_gib * 2**30)

    def find_meta(self, kind: str, key: str) -> dict[str, Any] | None:
        """As `LocalRoot.find_meta`, for fetched entries."""
        return self._root.find_meta(kind, key)

    def is_signed(self, meta: Mapping[str, Any], trust: Trust) -> bool:
        """Whether a trusted key has signed a fetched entry."""
        return trust.judge(self._root, meta) == SIGNED

    def renew(self, source: Root, fetched: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Make a fetched entry what its bucket holds now: give it its new signatures, or let it go."""
        if fetched["digest"] == meta["digest"]:
            carry_signatures(source, self._root, meta)
        else:
            _marks(self._root.path).remove_unused(self._root.folder(meta["kind"], meta["key"]))

    def locate(self, source: Root, entry: Entry) -> Path:
        """The folder of an entry, fetched if needed. It stays at least as long as `entry` is alive.

        Raises:
            InputError: it does not fit beside the entries in use.
            DamagedEntryError: it did not arrive as it was committed.
        """
        meta, marks = entry.meta, _marks(self._root.path)
        place = int(meta["key"][:15], 16)
        folder = self._root.folder(meta["kind"], meta["key"])
        marks.use(place)
        weakref.finalize(entry, marks.leave, place)
        if not is_file(folder / META):
            self._make_room(meta["entry_bytes"], marks)
            copy_entry(source, self._root, meta)
        os.utime(folder / META)
        return folder

    def _make_room(self, wanted_bytes: int, marks: _Marks) -> None:
        """Evict until `wanted_bytes` more fit."""
        marks.room_bytes -= wanted_bytes
        if marks.room_bytes >= 0:
            return
        held = {folder: _bytes_of(folder) for folder in self._folders()}
        total = sum(held.values())
        oldest_first = sorted(held, key=_last_used) if total + wanted_bytes > self._max_bytes else []
        for folder in oldest_first:
            if total + wanted_bytes > self._max_bytes * LEFT_AFTER_EVICTION and marks.remove_unused(folder):
                total -= held[folder]
        if total + wanted_bytes > self._max_bytes:
            raise InputError(
                f"{self._root}: an entry of {count_bytes(wanted_bytes)} does not fit into "
                f"{count_bytes(self._max_bytes)} beside {count_bytes(total)} in use; raise "
                "cache.read_through.max_gib, or fetch what the run needs with `weclick cache fetch`"
            )
        free_bytes = self._max_bytes - total - wanted_bytes
        marks.room_bytes = min(free_bytes, self._max_bytes // LOOKS_PER_FILLING)

    def _folders(self) -> Iterator[Path]:
        for kind in KINDS:
            yield from (self._root.folder(kind, key) for key in self._root.keys(kind))


class _Marks:
    """The entries of a folder that this process uses. There is one for each folder and process."""

    def __init__(self, path: Path):
        above = path.parent if path.name == FETCHED else path  # the default folder lies in a root
        make_folders(path, above)
        self._file = open_plain(path / ".in_use", os.O_RDWR | os.O_CREAT)
        with suppress(PermissionError):  # another user made it
            give_rights(self._file, path)
        self._used: Counter[int] = Counter()
        self._mutex = threading.RLock()
        self.room_bytes = 0
        """Bytes that this process may fetch before it counts the folder again."""

    def use(self, place: int) -> None:
        with self._mutex:
            self._used[place] += 1
            if self._used[place] == 1:
                fcntl.lockf(self._file, fcntl.LOCK_SH, 1, place)

    def leave(self, place: int) -> None:
        with self._mutex:
            self._used[place] -= 1
            if not self._used[place]:
                del self._used[place]
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def remove_unused(self, folder: Path) -> bool:
        """Remove a fetched entry, unless this process or another one uses it."""
        place = int(folder.name[:15], 16)
        with self._mutex:
            if self._used[place]:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except BlockingIOError:
                return False
            try:
                leaving = folder.rename(
                    folder.with_name(f".{folder.name}.evicted.{os.getpid()}.{uuid4().hex}.tmp")
                )
            except FileNotFoundError:  # another process was faster
                return True
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
        shutil.rmtree(leaving, ignore_errors=True)
        return True


@cache
def _marks(path: Path) -> _Marks:
    return _Marks(path)


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _last_used(folder: Path) -> float:
    try:
        return (folder / META).stat().st_mtime
    except FileNotFoundError:
        return 0.0
