"""Leases: they say who makes which entry of a root, so that other runs take the next one.

A lease is the file `<root>/leases/<kind>/<key>`. Its holder touches it as long as it lives. It is advice: a
run without a lease does no harm, since the store keeps the first of two equal entries.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from weclick.common.disk import names_in, open_plain, surely, unreadable
from weclick.common.errors import InputError, UnreadableError
from weclick.store.leases.heart import hold, let_go, read_lease
from weclick.store.leases.holder import Holder, read_holder, this_process
from weclick.store.meta import entry_name
from weclick.store.roots.local_root import give_rights, make_folders

LEASES = "leases"
EXPIRY_S = 60.0
"""After this many seconds without a sign of life, anybody may take a lease over."""

UNSIGNED_S = 5.0
"""After this many seconds, anybody may take an empty lease over: its maker was killed before it signed."""

_LEASE_BYTES = 4096


@dataclass(frozen=True)
class _Lease:
    """A lease as it was read: its content, and the time of its last touch by the file system's clock."""

    content: bytes
    touched_ns: int

    @property
    def holder(self) -> Holder:
        return read_holder(self.content)


class Leases:
    """The leases of a root.

    Args:
        root: a folder.
    """

    def __init__(self, root: Path):
        self._root = root

    def take(self, kind: str, key: str) -> Holder | None:
        """Try to take the lease of an entry. Leases of dead holders are taken over.

        Returns:
            Who else holds it. None if this process holds it now, or if the root cannot hold leases, for
            example because somebody else owns the folder.
        """
        path = self.path(kind, key)
        try:
            make_folders(path.parent, self._root)
            while not self._create(path):
                lease = surely(path, partial(_read, path))
                if lease and not _is_stale(lease, path.parent):
                    return lease.holder
                if lease:
                    _take_away(path, lease)
        except OSError:  # no leases here: work without, and the store keeps the first entry
            return None
        return None

    def release(self, kind: str, key: str) -> None:
        """Release a lease. Does nothing if this process no longer holds it."""
        path = self.path(kind, key)
        content = let_go(path)
        with suppress(OSError):  # the share is gone: the lease expires there
            if content and (lease := _read(path)) and lease.content == content:
                path.unlink()

    def sweep(self, kind: str) -> None:
        """Remove the leases of dead holders."""
        folder = self._root / LEASES / kind
        with suppress(OSError):  # somebody else's folder
            for name in names_in(folder):
                with suppress(OSError):  # somebody else's lease, or no lease at all
                    if (lease := _read(folder / name)) and _is_stale(lease, folder):
                        _take_away(folder / name, lease)

    def held(self, kind: str) -> tuple[set[str], list[str]]:
        """Which entries somebody works on, and what cannot be read as a lease, one line each.

        Raises:
            UnreadableError: it cannot be known.
        """
        keys, faults = set(), []
        for name in names_in(folder := self._root / LEASES / kind):
            path = folder / name
            try:
                lease = surely(path, partial(_read, path))
                if lease and lease.content and not name.startswith(".") and lease.holder == Holder():
                    faults.append(f"{path}: says nothing of who holds it; see what it is, and delete it")
                if lease and not _is_stale(lease, folder):
                    keys.add(name)
            except (InputError, UnreadableError) as error:
                faults.append(str(error))
            except OSError as error:
                faults.append(str(unreadable(path, error)))
        return keys, faults

    def _create(self, path: Path) -> bool:
        """Create and sign a lease; False if something was there."""
        content = this_process().spell()
        try:
            descriptor = open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, "wb") as file:
                give_rights(descriptor, self._root)
                file.write(content)
        except OSError:  # a full disk: others would wait for an empty lease that nobody holds
            path.unlink(missing_ok=True)
            raise
        hold(path, content)
        return True

    def path(self, kind: str, key: str) -> Path:
        """The file of an entry's lease."""
        return self._root / LEASES / kind / Path(entry_name(kind, key)).name


def _read(path: Path) -> _Lease | None:
    """The lease, or None if it is gone."""
    try:
        return _Lease(*read_lease(path, _LEASE_BYTES))
    except FileNotFoundError:
        return None


def _is_stale(lease: _Lease, folder: Path) -> bool:
    """Whether its holder is dead or silent.

    The time comes from the file system that dates the touches, since clocks of machines may differ. A touch
    from far in the future does not count as a sign of life either.
    """
    if lease.holder.is_dead():
        return True
    os.utime(folder)
    limit_s = EXPIRY_S if lease.content else UNSIGNED_S
    return abs(folder.stat().st_mtime_ns - lease.touched_ns) > limit_s * 1e9


def _take_away(path: Path, judged: _Lease) -> None:
    """Remove a stale lease. If a new one has replaced it since it was judged, put that back."""
    if _read(path) != judged:
        return
    away = path.with_name(f".{path.name[:64]}.{uuid4().hex}")
    with suppress(FileNotFoundError):  # another one was faster
        path.rename(away)
        if _read(away) != judged:
            with suppress(FileExistsError):
                os.link(away, path)
        away.unlink()
