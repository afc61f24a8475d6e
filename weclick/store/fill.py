"""How a stage fills the store: it makes the missing entries, and shares that work with other runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from weclick.common.progress import Bar, progress_bar
from weclick.store.entries import Entry
from weclick.store.search import Store

T = TypeVar("T")


def fill(
    store: Store,
    kind: str,
    items: Iterable[T],
    make: Callable[[Iterator[T], Bar], None],
    *,
    key: Callable[[T], str],
    size: Callable[[T], int],
    what: str,
    unit: str,
    threads: int = 1,
    check: Callable[[T, Entry], Any] = lambda *_: None,
) -> None:
    """Make sure that the store holds the entry of every item.

    Args:
        store: its entries are not made again.
        kind: of the entries, one of KINDS.
        items: what the entries are made from, such as clips.
        make: `create`s the entry of every item that it is given, and advances the bar by the item's size. It
            is called only if an entry is missing, so load a network here. It is called once a round (see
            `Rounds`), so load the network at the first call only. It may take the next item before it has
            finished the last one. Other runs cannot have an item once it is taken.
        key: gives the key of an item's entry.
        size: gives the work of an item, in units of the bar.
        what: the word before the bar.
        unit: the word for what the bar counts.
        threads: how many call `make` at once; they share one iterator. 1 stays in this thread.
        check: called for each entry that was there, or that another run made meanwhile. It raises if the
            entry cannot be used.

    Raises:
        DiskFullError, UnwritableError: as in `Store.create`. Finished entries stay.
    """

    def is_missing(item: T) -> bool:
        entry = store.find(kind, key(item))
        if entry:
            check(item, entry)
        return entry is None

    missing = {key(item): item for item in items if is_missing(item)}
    store.trust.tell()
    with (
        progress_bar(what, sum(map(size, missing.values())), unit) as bar,
        ThreadPoolExecutor(threads) as pool,
    ):

        def skip(item: T, entry: Entry) -> None:
            check(item, entry)
            bar.advance(size(item))

        with store.share_out(kind, missing, skip=skip, say=bar.say) as rounds:
            for some in rounds:
                if threads == 1:
                    make(some, bar)
                    continue
                for done in as_completed([pool.submit(make, some, bar) for _ in range(threads)]):
                    done.result()
