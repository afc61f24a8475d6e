"""Chooses which entries of a local root may go, and deletes them while other runs read and write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.store.ledger.read import Summary
from weclick.store.meta import KINDS
from weclick.store.roots.local_root import QUARANTINE, LocalRoot
from weclick.store.roots.transfer import Wanted


@dataclass(frozen=True)
class Bounds:
    """Which of the unreached entries may go.

    Attributes:
        made_before_unix_s, used_before_unix_s: an entry that was made or used later stays.
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
    """Delete entries, except those that were used or deleted since they were chosen.

    Returns:
        How many bytes were freed.
    """
    freed = 0
    for entry in chosen:
        with suppress(FileNotFoundError):  # another process was faster
            if root.last_use(entry.kind, entry.key) == entry.used_unix_s:
                root.remove(entry.kind, entry.key)
                freed += entry.entry_bytes
        advance()
    return freed


def leftovers(root: LocalRoot) -> list[Path]:
    """Folders in quarantine, and hidden folders of killed processes. Nobody reads either."""
    return [*(root.path / QUARANTINE).glob("*/*"), *root.abandoned()]


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
