"""Writes of arrays end before the work on their entry does."""

import asyncio
import errno
import threading

import pytest
from zarr.storage import LocalStore

from weclick.common.errors import DiskFullError
from weclick.store import EntryWriter, Store

ARRAY = {"shape": (2, 8, 8), "chunks": (1, 8, 8), "dtype": "int16", "axes": "PHW"}


def test_a_write_that_is_slower_than_the_one_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """zarr writes what tells an array and its group at once. The first finds no room, the second is slow."""
    write, write_once, late = LocalStore.set, LocalStore.set_if_not_exists, threading.Event()

    async def write_if_of_group(self, key, value):
        if key != "zarr.json":
            raise OSError(errno.ENOSPC, "No space left on device", str(self.root / key))
        await write(self, key, value)

    async def wait_and_write(self, key, value):
        await asyncio.sleep(0.2)
        await write_once(self, key, value)
        late.set()

    def add(n):
        with store.create("flow", {"n": n}) as entry:
            entry.create_array("flow", **ARRAY)

    store = Store([tmp_path])
    add(0)
    before = {*tmp_path.rglob("*")}
    monkeypatch.setattr(LocalStore, "set", write_if_of_group)
    monkeypatch.setattr(LocalStore, "set_if_not_exists", wait_and_write)
    with pytest.raises(DiskFullError):
        add(1)
    late.wait(1)
    left = {*tmp_path.rglob("*")} - before
    assert [path.name for path in left if path.is_file() or path.name[0] == "."] == []


def test_nothing_is_written_after_the_work_on_an_entry(tmp_path):
    writer = EntryWriter(tmp_path)
    array = writer.create_array("flow", **ARRAY)
    array[0] = 1
    writer.close()
    held = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RuntimeError, match="is not written: the work on its entry has ended"):
        array[1] = 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == held
