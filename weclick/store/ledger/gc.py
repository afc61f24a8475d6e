"""Which entries of a local root may go, and their deletion beside runs that read and write."""

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
    """Which of the entries that nothing reaches are to go.

    Attributes:
        made_before_unix_s, used_before_unix_s: an entry that is younger, or was used later, stays.
        kinds: others stay.
        max_bytes: so much may stay in all; None lets nothing stay that may go.
    """

    made_before_unix_s: float
    used_before_unix_s: float
    kinds: Collection[str] = KINDS
    max_bytes: int | None = None


def choose(entries: Iterable[Summary], reached: Collection[Wanted], bounds: Bounds) -> list[Summary]:
    """The entries that may go, those first that were used longest ago; never those of other users.

    Args:
        entries: all of the local root.
        reached: what stays whatever the bounds, see `ledger_reach.reach`.
        bounds: what else stays.
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
    """Delete entries, but none that was used, or went, since it was looked at.

    Returns:
        How many bytes they had.
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
    """Folders in quarantine, and hidden ones that killed processes left: nobody reads them."""
    return [*(root.path / QUARANTINE).glob("*/*"), *root.abandoned()]


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
