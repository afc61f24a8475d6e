"""The arrays of an entry that have a step for each frame that it names."""

from __future__ import annotations

from weclick.store.arrays import StoredArray
from weclick.store.entries import Entry
from weclick.store.meta import damaged


def named_steps(entry: Entry, name: str) -> tuple[StoredArray, list[str]]:
    """An array of an entry, and the names of its frames.

    Args:
        entry: whose attributes were checked, and have `frames`.
        name: of the array; its first axis counts frames.

    Raises:
        DamagedEntryError: the array is not as it was committed, or has another number of steps.
    """
    array, names = entry.array(name), entry.attributes["frames"]
    if len(array) != len(names):
        raise damaged(entry.path, f"{name} is of {len(array)} frames, but {len(names)} are named")
    return array, names
