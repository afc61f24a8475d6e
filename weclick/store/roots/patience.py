"""How long a bucket may take: one that is silent, or sends a byte now and then, is left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

CONNECT_S, REPLY_S = 5, 10
"""How long one attempt waits for a connection, and for the next bytes."""

PATIENCE_S = 20.0
"""After so long without a block of data, a request is given up, whatever it waits for."""

BLOCK_BYTES = 2**16
"""The unit of transfer, so a transfer slower than this in PATIENCE_S is given up."""


class SlowError(Exception):
    """A request took too long."""


def in_time(request: Callable[[Callable[[int], Any]], T]) -> T:
    """Make a request in a thread of its own, which is left behind if it makes no progress.

    The timeouts of a socket begin again with each byte, and looking up a name has none.

    Args:
        request: called with a function that it has to call after each block, with its bytes.

    Raises:
        SlowError: nothing came or went for PATIENCE_S.
    """
    done: list[T] = []
    failed: list[BaseException] = []
    moved = [0]
    given_up = threading.Event()

    def count(block_bytes: int) -> None:
        if given_up.is_set():
            raise SlowError("given up")
        moved[0] += block_bytes

    def run() -> None:
        try:
            done.append(request(count))
        except BaseException as error:  # raised again below, in the thread that asked
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)  # so that the process can end without it
    thread.start()
    before = 0
    while thread.is_alive():
        thread.join(PATIENCE_S)
        if thread.is_alive() and moved[0] == before:
            given_up.set()
            raise SlowError(f"less than {BLOCK_BYTES // 2**10} KiB in {PATIENCE_S:.0f} s")
        before = moved[0]
    if failed:
        raise failed[0]
    return done[0]
