"""How runs that write into one root split the work on missing entries."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from weclick.common.errors import InputError
from weclick.store.leases.leases import Leases

POLL_S = 1.0
"""A run that waits for others looks again after this many seconds."""

LEASE_WAIT_S = 86400.0
"""A run waits so long for others who finish nothing, unless it is told otherwise."""

T = TypeVar("T")


class Rounds(Generic[T]):
    """Gives this process its items, in rounds. A round is an iterator that threads may share.

    A round gives all items that nobody else works on. Finish it before you ask for the next one, which waits
    until the others have finished their items or given them up. So a waiting run holds no lease, and no two
    runs wait for each other.

    Args:
        leases: of the root that the entries go to.
        kind: of the entries.
        items: key of a missing entry -> what to work on.
        find: looks again for the entry of a key; None if there is none yet.
        skip: called with each item whose entry somebody else made, and with what `find` found.
        say: called with the names of those whom this run waits for, and with "" after that. Without it, or
            if stderr is no terminal, a line on stderr says it.
        wait_s: how long it waits while the others finish no item and begin none.
    """

    def __init__(
        self,
        leases: Leases,
        kind: str,
        items: Mapping[str, T],
        *,
        find: Callable[[str], Any],
        skip: Callable[[T, Any], Any],
        say: Callable[[str], Any] | None,
        wait_s: float = LEASE_WAIT_S,
    ):
        self._leases, self._kind, self._find, self._skip = leases, kind, find, skip
        self._wait_s = wait_s
        self._say = say if say and sys.stderr.isatty() else _print
        self._left: deque[tuple[str, T]] = deque()
        self._put_off: deque[tuple[str, T]] = deque(items.items())
        self._holders: list[str] = []
        self._gained: list[tuple[str, T]] = []
        self._mine: set[str] = set()
        self._mutex = threading.Lock()
        self._closed = False

    def __enter__(self) -> Rounds[T]:
        self._leases.sweep(self._kind)
        return self

    def __exit__(self, *_: object) -> None:
        """Give out nothing more, and release the leases of items that were not made."""
        self._closed = True
        with self._mutex:
            for key in self._mine:
                self._leases.release(self._kind, key)

    def __iter__(self) -> Iterator[Iterator[T]]:
        while self._wait():
            yield _Round(self)

    def take_next(self) -> tuple[str, T] | None:
        """The next item of this round with its key, or None at the end of the round."""
        with self._mutex:
            return self._gained.pop() if self._gained else self._gain()

    def _wait(self) -> bool:
        """Wait until a round can begin; False if all is done.

        Raises:
            InputError: the others have finished and begun nothing for too long.
        """
        told: list[str] = []
        seen: list[tuple[str, str]] = []
        since = time.monotonic()
        while True:
            with self._mutex:
                self._left.extend(self._put_off)
                self._put_off.clear()
                self._holders.clear()
                if not self._gained and (gained := self._gain()):
                    self._gained.append(gained)
            if self._gained or not self._put_off:
                self._say("")
                return bool(self._gained)
            now = [(key, holder) for (key, _), holder in zip(self._put_off, self._holders, strict=True)]
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since >= self._wait_s:
                self._say("")
                raise self._stuck(*now[0])
            holders = list(dict.fromkeys(self._holders))
            if holders != told:
                self._say(self._waiting_for(holders))
                told = holders
            time.sleep(POLL_S)

    def _waiting_for(self, holders: list[str]) -> str:
        more = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
        return f"waiting for {holders[0]}{more}, at work on {self._kind} ({len(self._put_off)} left)"

    def _stuck(self, key: str, holder: str) -> InputError:
        return InputError(
            f"{self._leases.path(self._kind, key)}: {holder} holds this lease and has finished nothing for "
            f"{self._wait_s:g} s (cache.lease_wait_s), though it shows signs of life; {len(self._put_off)} "
            f"{self._kind} entries wait. Look at that process: if it is stuck, end it, delete this file and "
            "run again; if it works, wait for it or raise cache.lease_wait_s"
        )

    def _gain(self) -> tuple[str, T] | None:
        while self._left and not self._closed:
            key, item = self._left.popleft()
            if holder := self._leases.take(self._kind, key):
                self._holders.append(str(holder))
                self._put_off.append((key, item))
                continue
            self._mine.add(key)
            entry = self._find(key)
            if not entry:
                return key, item
            self._leases.release(self._kind, key)
            self._skip(item, entry)
        return None


class _Round(Iterator[T]):
    def __init__(self, rounds: Rounds[T]):
        self._rounds = rounds

    def __next__(self) -> T:
        gained = self._rounds.take_next()
        if gained is None:
            raise StopIteration
        return gained[1]


def _print(text: str) -> None:
    if text:
        print(f"weclick: {text}", file=sys.stderr, flush=True)
