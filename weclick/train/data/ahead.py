"""Work of the next steps that is done in a thread, while the step at hand computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

AHEAD_STEPS = 2
"""Steps that are read and wait, while one more is being read. Beside the step in work, no others are held."""


def made_ahead(make: Callable[[int], T], start: int, stop: int) -> Generator[T, None, None]:
    """`make(start) .. make(stop - 1)` in order, each made in a thread before it is asked for.

    At most AHEAD_STEPS of them wait. The thread ends with the iterator.

    Raises:
        BaseException: what `make` raised, when its turn comes.
    """
    ready: queue.Queue[T | BaseException] = queue.Queue(maxsize=AHEAD_STEPS)
    closed = threading.Event()

    def make_all() -> None:
        try:
            for step in range(start, stop):
                if closed.is_set():
                    return
                _put(ready, make(step), closed)
        except BaseException as error:
            _put(ready, error, closed)

    thread = threading.Thread(target=make_all, daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            made = ready.get()
            if isinstance(made, BaseException):
                raise made
            yield made
    finally:
        closed.set()
        thread.join()


def _put(ready: queue.Queue, item: object, closed: threading.Event) -> None:
    """Put the item, unless nobody will take it any more."""
    while not closed.is_set():
        with suppress(queue.Full):
            ready.put(item, timeout=0.1)
            return
