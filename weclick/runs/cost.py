"""What a stage cost: one line for each of its runs, in a file beside its output.

`0.json` gets `0.cost.jsonl`. Lines are only added, so a run that finds everything in the store hides nothing
of the run that made it. No rule takes the file as input, and no index file knows of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weclick import __version__
from weclick.store import Entry, EntryWriter, Store, entry_key, write_index

SUFFIX = ".cost.jsonl"


class MeteredStore(Store):
    """The same store, which counts the entries of one kind that are found in it and made through it.

    Args:
        store: whose roots to use.
        kind: of the entries that count.

    Attributes:
        found: keys that were asked for and there.
        made: key -> bytes of entries written through this object.
    """

    def __init__(self, store: Store, kind: str):
        super().__init__(store.roots)
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
    """Time the block, and add a line on it beside `output`; a block that raises leaves none.

    Args:
        output: the file by which the stage is known; without a store its size is what was written.
        store: the one that the block reads and writes through.
    """
    began = time.perf_counter()
    yield
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:  # a helper of a training on several devices
        return
    line = {
        "seconds": round(time.perf_counter() - began, 3),
        "found": len(store.found - store.made.keys()) if store else 0,
        "made": len(store.made) if store else 0,
        "written_bytes": sum(store.made.values()) if store else output.stat().st_size,
        "finished_unix_s": int(time.time()),
        "weclick": __version__,
    }
    with output.with_suffix(SUFFIX).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def make_index(
    kind: str, output: Path, store: Store, make: Callable[[Store], dict[str, str]]
) -> dict[str, str]:
    """Run a stage that makes an entry for each clip, and write its index and what it cost.

    Args:
        kind: of the entries.
        output: index file to write.
        store: to find entries in and to add them to.
        make: the stage; takes the store, gives clip id -> key.

    Returns:
        What the stage gave.
    """
    metered = MeteredStore(store, kind)
    with stage_cost(output, metered):
        made = make(metered)
        write_index(output, kind, made)
    return made
