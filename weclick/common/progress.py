"""Progress on long work: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


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


@contextmanager
def progress_bar(what: str, total: int | None, unit: str, *, done: int = 0) -> Iterator[Bar]:
    """A bar on stderr with rate and time left; shows nothing where stderr is no terminal.

    Where nobody knows the total, it is None, and the bar only shows that something moves.
    """
    if not sys.stderr.isatty():
        yield _Silence()
        return
    from weclick.common.terminal_bar import terminal_bar  # most jobs have no terminal, and need not load it

    with terminal_bar() as progress:
        yield Bar(progress, progress.add_task(what, total=total, completed=done, unit=unit, note=""))
