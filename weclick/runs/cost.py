"""The cost of a stage: each of its runs adds a line to a file beside the stage's output.

`0.json` gets `0.cost.jsonl`. Earlier lines stay. So a run that finds everything in the store does not hide
the cost of the run that made it. No rule takes the file as input, and no index names it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from weclick import __version__
from weclick.common.files import open_to_change
from weclick.common.strict_json import strict_json

SUFFIX = ".cost.jsonl"


class Counts(Protocol):
    """What `weclick.runs.metered.MeteredStore` counts. A stage without a store does not load that."""

    found: set[str]
    made: dict[str, int]


@contextmanager
def stage_cost(output: Path, store: Counts | None = None) -> Iterator[None]:
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
