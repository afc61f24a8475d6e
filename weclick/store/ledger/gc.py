"""Chooses which entries of a local root may go, and deletes them while other runs read and write."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.common.disk import is_there, names_in
from weclick.common.errors import UnreadableError
from weclick.store.leases.leases import Leases
from weclick.store.meta import KINDS
from weclick.store.roots.local_root import QUARANTINE, LocalRoot
from weclick.store.roots.transfer import Wanted
from weclick.store.summaries import Summary

FLOOR_S = 3600.0
"""What was made, used or moved away less than an hour ago is never deleted, whatever somebody asks for."""

_MOVED = re.compile(r"[0-9a-f]{64}\.[0-9]+")


@dataclass(frozen=True)
class Bounds:
    """Which of the unreached entries may go.

    Attributes:
        made_before_unix_s, used_before_unix_s: an entry that was made or used later stays. Take both from
            the clock of the root (`LocalRoot.now`), and the latter at least FLOOR_S ago.
        kinds: entries of other kinds stay.
        max_bytes: the size that the root may keep; None removes all that may go.
    """

    made_before_unix_s: float
    used_before_unix_s: float
    kinds: Collection[str] = KINDS
    max_bytes: int | None = None


def choose(entries: Iterable[Summary], reached: Collection[Wanted], bounds: Bounds) -> list[Summary]:
    """The entries that may go, the longest unused first. Entries of other users never go.

    Args:
        entries: all of the local root.
        reached: entries that stay whatever the bounds, see `reach`.
        bounds: they say what else stays.
    """
    entries = list(entries)
    may_go = [
        entry
        for entry in sorted(entries, key=lambda entry: entry.last_unix_s)
        if entry.mine
        and (entry.kind, entry.key) not in reached
        and entry.kind in bounds.kinds
        and entry.created_unix_s < bounds.made_before_unix_s
        and entry.last_unix_s < bounds.used_before_unix_s
    ]
    if bounds.max_bytes is None:
        return may_go
    excess, chosen = sum(entry.entry_bytes for entry in entries) - bounds.max_bytes, []
    for entry in may_go:
        if excess > 0:
            excess -= entry.entry_bytes
            chosen.append(entry)
    return chosen


def delete(root: LocalRoot, chosen: Iterable[Summary], advance: Callable[[], Any] = lambda: None) -> int:
    """Delete entries, except those that were used, deleted or leased since they were chosen.

    Returns:
        How many bytes were freed.

    Raises:
        UnreadableError: the disk or share fails. What was not yet deleted stays; a rest is swept later.
    """
    freed, leases = 0, Leases(root.path)
    for kind in KINDS:
        leases.sweep(kind)
    for entry in chosen:
        try:
            with suppress(FileNotFoundError):  # another process was faster
                unused = root.last_use(entry.kind, entry.key) == entry.used_unix_s
                if unused and not is_there(leases.path(entry.kind, entry.key)):
                    root.remove(entry.kind, entry.key)
                    freed += entry.entry_bytes
        except OSError as error:
            raise UnreadableError(
                f"{root.folder(entry.kind, entry.key)}: could not be deleted now ({error}); what was to go "
                "after it stays; look at the disk or share, and run again"
            ) from error
        advance()
    return freed


def leased(root: LocalRoot) -> tuple[set[Wanted], list[str]]:
    """Entries that somebody works on, and one line for each lease that cannot be read."""
    entries: set[Wanted] = set()
    faults: list[str] = []
    for kind in KINDS:
        keys, unread = Leases(root.path).held(kind)
        entries |= {(kind, key) for key in keys}
        faults += unread
    return entries, faults


def leftovers(root: LocalRoot, now: float, *, floor_s: float = FLOOR_S) -> list[Path]:
    """Folders that nobody reads: in quarantine for a while, or hidden and of killed processes.

    Args:
        root: that holds them.
        now: see `LocalRoot.now`.
        floor_s: what was moved into quarantine later than so many seconds ago is left out.
    """
    held = [root.path / QUARANTINE / kind for kind in KINDS]
    moved = [folder / name for folder in held for name in names_in(folder) if _MOVED.fullmatch(name)]
    return [*(each for each in moved if _is_older(each, now - floor_s)), *root.abandoned(now)]


def _is_older(folder: Path, than_unix_s: float) -> bool:
    try:
        return folder.lstat().st_mtime < than_unix_s
    except FileNotFoundError:  # another process was faster
        return False


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
