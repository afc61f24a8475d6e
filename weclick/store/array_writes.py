"""How arrays of a new entry get onto the disk. No write outlives the work on the entry."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore


class ArrayWrites(LocalStore):
    """A folder that zarr writes arrays into, until it is settled.

    zarr writes several files at once, in threads. If one of them fails, it raises that error and leaves the
    others to themselves. They would make the folder of an entry anew while or after it is removed.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._under_way = 0
        self._settled = False
        self._change = threading.Condition()

    def settle(self) -> None:
        """Wait for all writes that have begun, and let none begin from now on."""
        with self._change:
            self._settled = True
            self._change.wait_for(lambda: not self._under_way)

    async def set(self, key: str, value: Buffer) -> None:
        """As zarr has it.

        Raises:
            RuntimeError: it is settled.
        """
        with self._writing(key):
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """As zarr has it.

        Raises:
            RuntimeError: it is settled.
        """
        with self._writing(key):
            await super().set_if_not_exists(key, value)

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        with self._change:
            if self._settled:
                raise RuntimeError(f"{self.root / key}: is not written: the work on its entry has ended")
            self._under_way += 1
        try:
            yield
        finally:
            with self._change:
                self._under_way -= 1
                self._change.notify_all()
