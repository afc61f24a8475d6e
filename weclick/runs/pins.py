"""What a lock pins of the store: the content of each entry, beside its key."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from weclick.common.progress import progress_bar
from weclick.common.stages import INDEXED, MODELS, taken_by
from weclick.runs.layout import LOCK
from weclick.store import LocalRoot, Store, damaged, keys_in
from weclick.store.pins import OtherContentError, Pins, check_pin, content_digest

THREADS = 8

Contents = dict[str, dict[str, str]]
"""Kind -> key -> digest of the content (see `content_digest`). The part `contents` of a lock."""


def named_by(lock: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind and key of the entries that a lock names, without frames that stayed in their files."""
    packed = lock["config"].get("frames", {}).get("pack", True)
    for stage in taken_by(lock["config"], INDEXED):
        listed = lock["entries"].get(stage.name, {}) if packed or stage.name != "frames" else {}
        for shards in listed.values():
            yield from ((stage.kind, key) for clips in shards.values() for key in keys_in(clips))
    yield from ((MODELS, model["key"]) for model in lock["models"].values())


def contents_of(lock: Mapping[str, Any], store: Store) -> Contents:
    """The content of the entries that a lock names, as the store finds them now.

    Those that no root has are left out.

    Raises:
        DamagedEntryError, UnreachableRootError: as in `Store.find`.
    """
    wanted = sorted(set(named_by(lock)))
    with ThreadPoolExecutor(THREADS) as pool:
        entries = list(pool.map(lambda each: store.find(*each), wanted))
    found: Contents = {}
    for (kind, key), entry in zip(wanted, entries, strict=True):
        if entry:
            found.setdefault(kind, {})[key] = content_digest(entry.meta)
    return found


def unpinned(lock: Mapping[str, Any]) -> int:
    """How many of the entries that a lock names it does not pin."""
    contents = lock.get("contents", {})
    return sum(key not in contents.get(kind, {}) for kind, key in set(named_by(lock)))


def pins_of(locks: Iterable[Mapping[str, Any]]) -> Pins:
    """What locks pin, all together. Two locks may pin two contents of one key; then both are right."""
    pins: dict[tuple[str, str], set[str]] = defaultdict(set)
    for lock in locks:
        for kind, digests in lock.get("contents", {}).items():
            for key, digest in digests.items():
                pins[kind, key].add(digest)
    return pins


def locks_of(listed: Iterable[Path]) -> list[Path]:
    """The locks among files and folders of results, and those of the runs that the files belong to."""
    found = []
    for path in listed:
        if path.is_dir():
            found += sorted(path.rglob(LOCK))
        else:
            found += [path] if path.name.endswith(LOCK) else []
            found += [folder / LOCK for folder in path.parents[:3] if (folder / LOCK).is_file()]
    return list(dict.fromkeys(found))


def check_contents(lock: Mapping[str, Any], store: Store, *, accept: bool = False) -> None:
    """Compare the entries that a run would find with what its lock pins, before anything reads them.

    Entries in folders are read whole, since readers compare only a checksum that can be forged. Entries in
    buckets are checked whole when they are fetched.

    Args:
        lock: of the run; an old one pins nothing, and a line on stderr says so.
        store: that the run reads.
        accept: only count the entries of other content, on stderr.

    Raises:
        OtherContentError: an entry holds other content.
        DamagedEntryError, UnreachableRootError: as in `Store.find`.
    """
    if "contents" not in lock:
        print("weclick: this lock is of an earlier weclick and pins no contents of entries", file=sys.stderr)
    pins, others = pins_of([lock]), []

    def check(wanted: tuple[str, str]) -> OtherContentError | None:
        entry = store.find(*wanted)
        if not entry:
            return None
        try:
            check_pin(pins, entry.root, entry.meta)
        except OtherContentError as error:
            return error
        if isinstance(entry.root, LocalRoot) and (faults := entry.root.faults(*wanted)):
            raise damaged(entry.root.folder(*wanted), "; ".join(faults[:3]))
        return None

    with (
        progress_bar("compare with the lock", len(pins), "entries") as bar,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for error in pool.map(check, pins):
            others += [error] if error else []
            bar.advance()
    if others and not accept:
        raise others[0]
    if others:
        print(f"weclick: entries of other content than the lock pins: {len(others)}", file=sys.stderr)
