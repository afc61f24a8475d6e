"""Where the time of a training goes: shares of the parts of its steps, and a trace of some of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.profiler import profile, record_function, schedule

from weclick.common.errors import InputError
from weclick.common.files import write_bytes

TRACE = "trace.json"
PARTS = ("wait", "assemble", "online", "forward", "losses", "backward", "optimizer")
"""Parts of a step: wait for reads; upload, decode and resample; teacher and flow of an online training."""


class Stopwatch:
    """Seconds of a training, and the parts that they go into; it stands still while `paused`.

    On a CPU the clock times the parts. On a GPU events in its stream do: a part takes until the GPU is done
    with it, and the host waits for the GPU in `shares` alone.

    Args:
        device: of the training.
        seconds: of earlier sessions.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0):
        self._cuda = device.type == "cuda"
        self._began = time.perf_counter() - seconds
        self._since, self._waited_s = time.perf_counter(), 0.0
        self._spans: list[tuple[str, float | torch.cuda.Event, float | torch.cuda.Event]] = []

    def seconds(self) -> float:
        """Seconds so far, without pauses."""
        return time.perf_counter() - self._began

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block as a part of the step: one of PARTS, or `batch`, which `shares` divides."""
        began = self._now()
        with record_function(name):
            yield
        self._spans.append((name, began, self._now()))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the block."""
        stopped = time.perf_counter()
        yield
        away = time.perf_counter() - stopped
        self._began += away
        self._since += away

    def shares(self, waited_s: float) -> dict[str, float]:
        """Shares of the time since the last call; the rest went into logging and checkpoints.

        Args:
            waited_s: seconds that the stream has kept the training waiting, so far; not used on a GPU. There
                batches are assembled beside the step, and all time in `batch` is waiting.

        Returns:
            Part -> 0..1, all of PARTS.
        """
        if self._cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        spent = dict.fromkeys((*PARTS, "batch"), 0.0)
        for name, began, ended in self._spans:
            spent[name] += _seconds(began, ended)
        batch = spent.pop("batch")
        spent["wait"] = batch if self._cuda else min(waited_s - self._waited_s, batch)
        spent["assemble"] = batch - spent["wait"]
        whole = max(now - self._since, 1e-9)
        self._since, self._waited_s = now, waited_s
        self._spans.clear()
        return {name: round(min(seconds / whole, 1.0), 4) for name, seconds in spent.items()}

    def _now(self) -> float | torch.cuda.Event:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


@contextmanager
def traced(span: Sequence[int] | None, folder: Path, *, done: int) -> Iterator[Callable[[], None]]:
    """Profile some steps into the folder's trace.json, which Perfetto and Chrome show.

    Args:
        span: first and last step, counted from 1; None profiles none.
        folder: gets the trace.
        done: steps of earlier sessions.

    Yields:
        A function to call after every step.

    Raises:
        InputError: the first step comes after the last.
    """
    if span is not None and span[0] > span[1]:
        raise InputError(f"profile is {list(span)}, expected [first, last] step, the first before the last")
    if span is None or done >= span[1]:
        yield lambda: None
        return
    before = max(span[0] - 1 - done, 0)
    warmup = min(before, 1)  # else the first step would count the profiler's own start
    steps = schedule(wait=before - warmup, warmup=warmup, active=span[1] - done - before, repeat=1)

    def write(finished: profile) -> None:
        # The profiler says nothing when a full disk cuts its file short.
        with TemporaryDirectory() as scratch:
            finished.export_chrome_trace(f"{scratch}/{TRACE}")
            write_bytes(folder / TRACE, Path(scratch, TRACE).read_bytes())

    with profile(schedule=steps, on_trace_ready=write) as running:
        yield running.step


def _seconds(began: float | torch.cuda.Event, ended: float | torch.cuda.Event) -> float:
    if isinstance(began, float) or isinstance(ended, float):
        return ended - began  # type: ignore[operator]
    return began.elapsed_time(ended) / 1e3
