"""Asynchronous window reads from store entries through TensorStore."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import tensorstore as ts

from weclick.store import Entry, Store


class WindowReader:
    """Reads parts of arrays of the store; keeps at most `max_open` of them open.

    Args:
        store: where entries are looked up.
        max_open: bound on open arrays, and so on memory, whatever the size of the data set.
    """

    def __init__(self, store: Store, *, max_open: int = 512):
        self._store = store
        self._max_open = max_open
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._arrays: OrderedDict[tuple[str, str, str], ts.TensorStore] = OrderedDict()
        self._context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})

    def entry(self, kind: str, key: str) -> Entry:
        """An entry of the store.

        Raises:
            EntryMissingError: no root of the store has it.
        """
        return _remember(self._entries, (kind, key), lambda: self._store.get(kind, key), self._max_open)

    def read(self, kind: str, key: str, name: str, window: tuple[int | slice, ...]) -> ts.Future[np.ndarray]:
        """Begin to read `array[window]`; `.result()` waits for it.

        Raises:
            EntryMissingError: no root of the store has the entry.
        """
        return self._array(kind, key, name)[window].read()

    def _array(self, kind: str, key: str, name: str) -> ts.TensorStore:
        def open_array() -> ts.TensorStore:
            path = self.entry(kind, key).path / name
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
            return ts.open(spec, read=True, open=True, context=self._context).result()

        return _remember(self._arrays, (kind, key, name), open_array, self._max_open)


def _remember(pool: OrderedDict, key: Any, make: Any, bound: int) -> Any:
    """The value of `key`, made if need be; the least recently used one goes when the pool is full."""
    if key not in pool:
        pool[key] = make()
        if len(pool) > bound:
            pool.popitem(last=False)
    pool.move_to_end(key)
    return pool[key]
