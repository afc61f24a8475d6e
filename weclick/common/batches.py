"""Work ahead of a loop, and in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], most: int) -> Generator[T, None, None]:
    """The items in order, made by a thread while the loop works on the last ones.

    The thread ends with the loop. `contextlib.closing` ends it early.

    Args:
        items: made on demand.
        most: so many are made ahead at most.

    Raises:
        BaseException: what `items` raises, behind all that came before it.
    """
    rest, end = iter(items), object()
    thread = ThreadPoolExecutor(1)
    try:
        made = deque(thread.submit(next, rest, end) for _ in range(most))
        while (item := made.popleft().result()) is not end:
            made.append(thread.submit(next, rest, end))
            yield item  # type: ignore[misc]  # the end is none of them
    finally:
        thread.shutdown(cancel_futures=True)
        if isinstance(rest, Generator):
            rest.close()  # now, not when somebody forgets it: it may have threads of its own


def in_batches(items: Iterable[T], most: int, size_of: Callable[[T], Any]) -> Iterator[list[T]]:
    """Neighbours of one size, at most so many together. Each batch comes as soon as it is full.

    Raises:
        Exception: what `items` raises, behind the batch of all that came before it.
    """
    batch: list[T] = []
    try:
        for item in items:
            if batch and size_of(item) != size_of(batch[0]):
                yield batch
                batch = []
            batch.append(item)
            if len(batch) >= most:
                yield batch
                batch = []
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
