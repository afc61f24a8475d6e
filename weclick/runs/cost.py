"""The cost of a stage: each of its runs adds a line to a file beside the stage's output.

`0.json` gets `0.cost.jsonl`. Earlier lines stay. So a run that finds everything in the store does not hide
the cost of the run that made it. No rule takes the file as input, and no index names it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weclick import __version__
from weclick.common.files import open_to_change
from weclick.common.strict_json import strict_json
from weclick.store import Entry, EntryWriter, Store, entry_key, write_index

SUFFIX = ".cost.jsonl"


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


@contextmanager
def stage_cost(output: Path, store: MeteredStore | None = None) -> Iterator[None]:
    """Time the block, and add a line about it beside `output`; a block that raises adds none.

    Args:
        output: the stage's main file; without a store, its size counts as the bytes written.
        store: the block reads and writes through it.
    """
    began = time.perf_counter()
    yield
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:  # a helper process of a training on several devices
        return
    line = {
        "seconds": round(time.perf_counter() - began, 3),
        "found": len(store.found - store.made.keys()) if store else 0,
        "made": len(store.made) if store else 0,
        "written_bytes": sum(store.made.values()) if store else output.stat().st_size,
        "finished_unix_s": int(time.time()),
        "weclick": __version__,
    }
    with open_to_change(output.with_suffix(SUFFIX)) as file:
        file.write(f"{strict_json(line)}\n".encode())


def make_index(
    kind: str, output: Path, store: Store, make: Callable[[Store], dict[str, str]]
) -> dict[str, str]:
    """Run a stage that makes one entry per clip, and write its index and its cost.

    Args:
        kind: of the entries.
        output: index file to write.
        store: entries are found in it and added to it.
        make: the stage; takes the store, gives clip id -> key.

    Returns:
        Clip id -> key.
    """
    metered = MeteredStore(store, kind)
    with stage_cost(output, metered):
        made = make(metered)
        write_index(output, kind, made)
    return made
