"""A store that counts what a stage finds in it and makes, for the line of its cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from weclick.runs.cost import stage_cost
from weclick.store import Entry, EntryWriter, Store, entry_key, write_index

Made = TypeVar("Made", dict[str, str], dict[str, dict[str, str]])


class MeteredStore(Store):
    """A store that counts the entries of one kind that are found in it and made through it.

    Args:
        store: gives the roots and the time to wait for others.
        kind: of the entries that count.

    Attributes:
        found: keys that were asked for and found.
        made: key -> bytes of entries written through this object.
    """

    def __init__(self, store: Store, kind: str):
        super().__init__(store.roots, lease_wait_s=store.lease_wait_s, trusted_keys=store.trust)
        self._kind = kind
        self.found: set[str] = set()
        self.made: dict[str, int] = {}

    def find(self, kind: str, key: str) -> Entry | None:
        """As `Store.find`."""
        entry = super().find(kind, key)
        if entry and kind == self._kind:
            self.found.add(key)
        return entry

    @contextmanager
    def create(self, kind: str, inputs: Mapping[str, Any]) -> Iterator[EntryWriter]:
        """As `Store.create`."""
        with super().create(kind, inputs) as writer:
            yield writer
        if kind == self._kind:
            entry = self.get(kind, entry_key(kind, inputs))
            self.made[entry.key] = entry.meta["entry_bytes"]


def make_index(kind: str, output: Path, store: Store, make: Callable[[Store], Made]) -> Made:
    """Run a stage that makes entries of clips, and write its index and its cost.

    Args:
        kind: of the entries.
        output: index file to write.
        store: entries are found in it and added to it.
        make: the stage; takes the store, gives clip id -> key, or clip id -> need -> key.

    Returns:
        What `make` gave.
    """
    metered = MeteredStore(store, kind)
    with stage_cost(output, metered):
        made = make(metered)
        write_index(output, kind, made)
    return made
