"""Asynchronous window reads from store entries through TensorStore."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from weclick.store import Entry, Store, check_array, check_step, damaged


@dataclass(frozen=True)
class Reading:
    """A window that is being read."""

    future: Any
    entry: Path
    what: str

    def result(self) -> np.ndarray:
        """Wait for the window.

        Raises:
            DamagedEntryError: it cannot be decoded.
        """
        try:
            return self.future.result()
        except (ValueError, OSError, RuntimeError) as error:
            raise damaged(self.entry, f"{self.what} cannot be read ({_first(error)})") from error


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

    def read(self, kind: str, key: str, name: str, window: tuple[int, *tuple[slice, ...]]) -> Reading:
        """Begin to read `array[window]`; `.result()` waits for it. A window begins with its step.

        Raises:
            EntryMissingError: no root of the store has the entry.
            DamagedEntryError: the array, or the file of the step, is not as it was committed.
        """
        entry, array = self.entry(kind, key), self._array(kind, key, name)
        check_step(entry.path, name, window[0], array.rank, entry.meta["files"])
        return Reading(array[window].read(), entry.path, f"{name}[{window[0]}]")

    def _array(self, kind: str, key: str, name: str) -> ts.TensorStore:
        def open_array() -> ts.TensorStore:
            entry = self.entry(kind, key)
            check_array(entry.path, name, entry.meta["files"])
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{entry.path / name}/"}}
            try:
                return ts.open(spec, read=True, open=True, context=self._context).result()
            except (ValueError, OSError, RuntimeError) as error:
                raise damaged(entry.path, f"{name} cannot be opened ({_first(error)})") from error

        return _remember(self._arrays, (kind, key, name), open_array, self._max_open)


def _first(error: Exception) -> str:
    """TensorStore's own words, without the source lines that follow them."""
    return str(error).partition(" [")[0]


def _remember(pool: OrderedDict, key: Any, make: Any, bound: int) -> Any:
    """The value of `key`, made if need be; the least recently used one goes when the pool is full."""
    if key not in pool:
        pool[key] = make()
        if len(pool) > bound:
            pool.popitem(last=False)
    pool.move_to_end(key)
    return pool[key]
