"""Progress on long work: a bar on a terminal, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {task.fields['unit']}/s" if speed else "")


class Bar:
    """One running bar: `advance` as work is done, `say` to change the words behind it."""

    def __init__(self, progress: Progress, task: int):
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""
        self._progress.advance(self._task, steps)  # type: ignore[arg-type]

    def say(self, note: str) -> None:
        """Show `note` at the end of the line."""
        self._progress.update(self._task, note=note)  # type: ignore[arg-type]


@contextmanager
def progress_bar(what: str, total: int, unit: str, *, done: int = 0) -> Iterator[Bar]:
    """A bar on stderr with rate and time left; shows nothing where stderr is no terminal."""
    console = Console(file=sys.stderr)  # of now: what the block prints may be led elsewhere
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(what, total=total, completed=done, unit=unit, note=""))
