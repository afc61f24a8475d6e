"""How busy the machine is while something is timed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BUSY_WAITED, BUSY_OTHERS = 0.1, 0.25
"""From these on a machine counts as busy: the share of time that our threads waited for a core; and the load
that others made, as a share of the cores."""


@contextmanager
def watched_load(threads: int) -> Iterator[dict[str, Any]]:
    """Watch how busy the machine is while the block runs.

    Args:
        threads: that the block computes with; they are taken off the load.

    Yields:
        A dict that is filled when the block ends. cores; threads; load_average, the mean number of running
        threads on the machine over the last minute; waited_share, the part of the block's processor time that
        its threads waited for a core, 0..1; busy. What the system does not tell is None.
    """
    told: dict[str, Any] = {}
    ran, waited = _scheduled()
    yield told
    ran, waited = (now - before for now, before in zip(_scheduled(), (ran, waited), strict=True))
    cores, load = os.cpu_count() or 1, _load_average()
    share = round(waited / (ran + waited), 3) if ran > 0 else None
    others = 0.0 if load is None else load - threads
    told |= {
        "cores": cores,
        "threads": threads,
        "load_average": load,
        "waited_share": share,
        "busy": (share or 0) >= BUSY_WAITED or others >= BUSY_OTHERS * cores,
    }


def busy_words(load: Mapping[str, Any] | None) -> str:
    """What a person should know of a time that was taken on a busy machine; empty if it was not busy."""
    if not load or not load.get("busy"):
        return ""
    told = []
    if load.get("load_average") is not None:
        told.append(f"load {load['load_average']:.1f} on {load['cores']} cores")
    if load.get("waited_share"):
        told.append(f"waited {100 * load['waited_share']:.0f} % of the time for a core")
    return f"measured on a busy machine ({', '.join(told)})"


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:  # the system does not know it
        return None


def _scheduled() -> tuple[int, int]:
    """Nanoseconds that this process's threads ran, and that they were ready but waited; zeros if unknown."""
    ran = waited = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            fields = path.read_text(encoding="ascii").split()
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
        except (OSError, ValueError, IndexError):  # a thread that has just ended, or another kernel
            continue
    return ran, waited
