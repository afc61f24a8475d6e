"""Progress on long work: a bar on a terminal, and elsewhere a line now and then."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from weclick.common import words

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 30.0
"""Seconds before the first line and between two lines, in the logs of Slurm, Snakemake and the like."""


class Bar:
    """One running bar: `advance` as work is done, `say` to change the words behind it."""

    def __init__(self, progress: Progress, task: TaskID):
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""
        self._progress.advance(self._task, steps)

    def say(self, note: str) -> None:
        """Show `note` at the end of the line."""
        self._progress.update(self._task, note=note)


class _Silence(Bar):
    def __init__(self) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass

    def say(self, note: str) -> None:
        pass


class _Lines(Bar):
    """Lines on stderr in the place of a bar, at most one every LINE_EVERY_S. Short work says nothing."""

    def __init__(self, what: str, total: int | None, unit: str, done: int):
        self._what, self._total, self._unit = what, total, unit
        self._done = self._before = done
        self._note = ""
        self._began = self._told = monotonic()
        self._lock = Lock()  # some stages count in several threads

    def advance(self, steps: int = 1) -> None:
        with self._lock:
            self._done += steps
            self._tell_if_due()

    def say(self, note: str) -> None:
        with self._lock:
            self._note = note
            self._tell_if_due()

    def _tell_if_due(self) -> None:
        now = monotonic()
        if now - self._told >= LINE_EVERY_S:
            self._told = now
            print(self._line(now - self._began), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        """`train student: 1,200 of 40,000 steps (3 %), 5.3 steps/s, 2 h 02 min left, loss 0.532`."""
        per_second = (self._done - self._before) / max(seconds, 1e-9)
        parts = [f"{self._what}: {self._done:,} {self._unit}", f"{words.rate(per_second)} {self._unit}/s"]
        if self._total:
            share = 100 * self._done // self._total
            parts[0] = f"{self._what}: {self._done:,} of {self._total:,} {self._unit} ({share} %)"
            if per_second and self._done < self._total:
                parts.append(f"{words.duration((self._total - self._done) / per_second)} left")
        return ", ".join([*parts, *filter(None, [self._note])])


@contextmanager
def progress_bar(what: str, total: int | None, unit: str, *, done: int = 0) -> Iterator[Bar]:
    """A bar on stderr with rate and time left. Where stderr is no terminal, lines tell the same.

    Where nobody knows the total, it is None, and only what is done is told. Of the processes of one training,
    the first one tells.

    Args:
        what: the work, in front of the line.
        total: units of the whole work, with those that were done before.
        unit: in the plural.
        done: units that were done before, in an earlier session. They do not count for the rate.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:  # of a process that Lightning started beside the first one
        yield _Silence()
        return
    if not sys.stderr.isatty():
        yield _Lines(what, total, unit, done)
        return
    from weclick.common.terminal_bar import terminal_bar  # most jobs have no terminal, and need not load it

    with terminal_bar() as progress:
        yield Bar(progress, progress.add_task(what, total=total, completed=done, unit=unit, note=""))
