"""Asynchronous reads of windows: from store entries through TensorStore, from image files by threads."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorstore as ts
import torch
from torch import Tensor

from weclick.common.disk import tells_hiccup, unreadable
from weclick.store import Entry, Store, check_array, check_step, damaged


@dataclass(frozen=True)
class Reading:
    """Windows that are being read into a buffer of their own."""

    future: Any
    buffer: Tensor
    entry: Path
    what: str

    def result(self) -> Tensor:
        """Wait for the windows.

        Raises:
            DamagedEntryError: a window cannot be decoded.
            UnreadableError: the disk or share does not let it be read now.
        """
        try:
            self.future.result()
        except (ValueError, OSError, RuntimeError) as error:
            raise _fault(self.entry, f"{self.what} cannot be read", error) from error
        return self.buffer


class WindowReader:
    """Reads parts of arrays of the store; keeps at most `max_open` of them open.

    Args:
        store: where entries are looked up.
        max_open: bound on open arrays, and so on memory, whatever the size of the data set. An open one takes
            about 5 KiB; to open it again takes half a millisecond.
    """

    def __init__(self, store: Store, *, max_open: int = 65536):
        self._store, self._max_open = store, max_open
        self.pinned = False
        """Whether windows go into page-locked memory; a GPU copies from there beside its work."""
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._arrays: OrderedDict[tuple[str, str, str], ts.TensorStore] = OrderedDict()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self._context = ts.Context(
            {"cache_pool": {"total_bytes_limit": 0}, "data_copy_concurrency": {"limit": cores}}
        )

    def entry(self, kind: str, key: str) -> Entry:
        """An entry of the store.

        Raises:
            EntryMissingError: no root of the store has it.
        """
        return _remember(self._entries, (kind, key), lambda: self._store.get(kind, key), self._max_open)

    def read(
        self, kind: str, key: str, name: str, steps: Sequence[int], window: tuple[slice, ...]
    ) -> Reading:
        """Begin to read one window of an array at some steps; `.result()` waits for (steps, *window).

        Raises:
            EntryMissingError: no root of the store has the entry.
            DamagedEntryError: the array, or the file of a step, is not as it was committed.
        """
        entry, array = self.entry(kind, key), self._array(kind, key, name)
        for step in steps:
            check_step(entry.path, name, step, array.rank, entry.meta["files"])
        indices: Any = (list(steps), *window)
        source = array.oindex[indices][ts.d[:].translate_to[0]]
        buffer = torch.empty(source.shape, dtype=getattr(torch, source.dtype.name), pin_memory=self.pinned)
        with ts.Batch() as batch:  # asks for neighbouring chunks at once
            future = ts.array(buffer.numpy(), context=self._context, copy=False).write(source, batch=batch)
        return Reading(future, buffer, entry.path, f"{name}{list(steps)}")

    def _array(self, kind: str, key: str, name: str) -> ts.TensorStore:
        def open_array() -> ts.TensorStore:
            entry = self.entry(kind, key)
            described = check_array(entry.path, name, entry.meta["files"])
            spec = {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": f"{entry.path / name}/"},
                "metadata": {key: value for key, value in described.items() if key != "attributes"},
            }
            try:  # TensorStore keeps a description that it reads itself in three times the memory
                return ts.open(
                    spec, read=True, open=True, assume_metadata=True, context=self._context
                ).result()
            except (ValueError, OSError, RuntimeError) as error:
                raise _fault(entry.path, f"{name} cannot be opened", error) from error

        return _remember(self._arrays, (kind, key, name), open_array, self._max_open)


def _fault(entry: Path, what: str, error: Exception) -> Exception:
    """The error for what TensorStore cannot read: it says whether the disk or the entry is at fault."""
    first = str(error).partition(" [")[0]  # its own words, without the source lines that follow them
    return (
        unreadable(entry, f"{what}: {first}") if tells_hiccup(first) else damaged(entry, f"{what} ({first})")
    )


def _remember(pool: OrderedDict, key: Any, make: Any, bound: int) -> Any:
    """The value of `key`, made if missing; the least recently used one goes when the pool is full."""
    if key not in pool:
        pool[key] = make()
        if len(pool) > bound:
            pool.popitem(last=False)
    pool.move_to_end(key)
    return pool[key]
