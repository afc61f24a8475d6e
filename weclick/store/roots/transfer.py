"""Copies entries from root to root. Each is checked before it is committed, so that no damage spreads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from weclick.common.errors import UnreadableError
from weclick.store.entries import open_entry
from weclick.store.meta import DamagedEntryError, damaged
from weclick.store.pins import OtherContentError
from weclick.store.roots.local_root import LocalRoot
from weclick.store.roots.s3_root import S3Root
from weclick.store.signatures import carry_signatures
from weclick.store.verify import verify_entry

THREADS = 8

Wanted = tuple[str, str]
"""Kind and key of an entry."""


Root = LocalRoot | S3Root
"""A place of entries. Both types have the same methods."""


@dataclass
class Transfer:
    """The outcome of copying entries.

    Attributes:
        copied: number of entries that were copied.
        copied_bytes: their size.
        skipped: number of entries that the target had, or got from somebody else meanwhile.
        missing: entries that no source has.
        faults: one line for each entry that is damaged or refused in a source or in the target.
        unchecked: one line for each entry that could not be read and was not copied.
        licences: notice -> number of copied entries that carry it.
        refused: how many of the faults are other content than is pinned.
    """

    copied: int = 0
    copied_bytes: int = 0
    skipped: int = 0
    missing: list[Wanted] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    licences: Counter[str] = field(default_factory=Counter)
    refused: int = 0


def copy_entry(source: Root, target: Root, meta: Mapping[str, Any]) -> bool:
    """Copy one entry. Its digests, key, attributes and names are checked before it is committed.

    Returns:
        False if somebody else committed it meanwhile.

    Raises:
        DamagedEntryError: it is not whole; the target stays as it was.
        UnreadableError: a disk or share does not let it be read now; the target stays as it was.
    """
    kind, key = meta["kind"], meta["key"]
    with target.workspace(kind, key) as folder:
        if isinstance(source, LocalRoot) and isinstance(target, S3Root):
            folder = source.folder(kind, key)  # uploaded from its own place
        else:
            source.export(meta, folder)
        where = f"{source}: {kind} entry {key}"
        if faults := verify_entry(folder, kind, key):
            raise damaged(where, f"{len(faults)} faults, {faults[0].replace(f'{folder}/', '')}")
        if open_entry(folder, kind, key).meta["digest"] != meta["digest"]:
            raise damaged(where, "somebody replaced it while it was copied")
        carry_signatures(source, target, meta)  # before the commit: nobody finds the entry without them
        return target.commit(folder, kind, key)


def copy_entries(
    sources: Sequence[Root],
    target: Root,
    wanted: Iterable[Wanted],
    advance: Any = lambda: None,
    *,
    accept: Callable[[Root, Mapping[str, Any]], bool] = lambda *_: True,
) -> Transfer:
    """Copy the wanted entries that the target lacks, in threads, each from the first source that has it.

    Args:
        sources: searched in order.
        target: its own entries stay as they are.
        wanted: kind and key of each.
        advance: called after each.
        accept: called with a root and the entry.json that it holds. If it says no, the entry counts as not
            there. If it raises OtherContentError, that is a fault, too.
    """
    done = Transfer()

    def accepted(root: Root, meta: Mapping[str, Any]) -> bool:
        try:
            return accept(root, meta)
        except OtherContentError as error:
            done.faults.append(str(error))
            done.refused += 1
            return False

    def copy(kind: str, key: str) -> tuple[Mapping[str, Any] | None, bool]:
        if there := target.find_meta(kind, key):
            folders = [each for each in sources if isinstance(each, LocalRoot)]  # buckets cost a request each
            for folder in folders if accepted(target, there) else ():
                carry_signatures(folder, target, there)
            return there, False
        for source in sources:
            if (found := source.find_meta(kind, key)) and accepted(source, found):
                return found, copy_entry(source, target, found)
        return None, False

    with ThreadPoolExecutor(THREADS) as pool:
        begun = {each: pool.submit(copy, *each) for each in dict.fromkeys(wanted)}
        try:
            for each, copying in begun.items():
                try:
                    meta, copied = copying.result()
                except DamagedEntryError as error:
                    done.faults.append(str(error))
                except UnreadableError as error:
                    done.unchecked.append(str(error))
                else:
                    _count(done, each, meta, copied)
                advance()
        finally:
            pool.shutdown(cancel_futures=True)
    return done


def _count(done: Transfer, each: Wanted, meta: Mapping[str, Any] | None, copied: bool) -> None:
    if meta is None:
        done.missing.append(each)
    elif not copied:
        done.skipped += 1
    else:
        done.copied += 1
        done.copied_bytes += meta["entry_bytes"]
        if notice := meta["attributes"].get("licence"):
            done.licences[str(notice)] += 1
