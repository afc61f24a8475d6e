"""What older entries hold of a new one: the same frames, pairs or soft labels, made in the same way.

A key lists all frames or pairs of its clip. So one more click makes a new key, and a new entry. It takes over
what entries hold whose inputs differ in that list alone; only the rest is computed. So an entry also takes
over the pairs that other needs of flow have of its clip, whether or not this very run has made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from weclick.common.digest import canonical_json
from weclick.common.errors import UnreadableError
from weclick.store.arrays import StoredArray, check_step
from weclick.store.entries import Entry
from weclick.store.keys import entry_key
from weclick.store.meta import DamagedEntryError, EntryMissingError
from weclick.store.roots.local_root import LocalRoot
from weclick.store.search import Store
from weclick.store.summaries import summaries


@dataclass(frozen=True)
class Held:
    """One step of a new entry, as an older one holds it.

    Attributes:
        entry: the older one.
        step: of its arrays.
        arrays: those arrays, by name.
    """

    entry: Entry
    step: int
    arrays: Mapping[str, StoredArray]

    def copy(self, arrays: Mapping[str, Any], step: int) -> None:
        """Write it into the arrays of a new entry, bit for bit.

        Raises:
            DamagedEntryError, EntryMissingError: the older entry was damaged or deleted since it was found.
        """
        for name, array in arrays.items():
            array[step] = self.arrays[name][self.step]


class Older:
    """Finds what the folders of a store hold of new entries. Buckets are not looked through: that takes long.

    The first question reads every entry.json of the kind, so ask only if an entry is missing.

    Args:
        store: decides which entries may be read.
        kind: of the entries.
        part: name of the list in their inputs: frames or pairs. Each item of it is one step of all arrays.
        wanted: the inputs of all entries that may be asked for.
    """

    def __init__(self, store: Store, kind: str, part: str, wanted: Iterable[Mapping[str, Any]]):
        self._store, self._kind, self._part = store, kind, part
        self._wanted = [*wanted]
        self._found: dict[tuple[str, str], tuple[str, int]] | None = None
        self._opened: dict[str, tuple[Entry, dict[str, StoredArray]]] = {}
        self._lock = Lock()

    def of(
        self,
        inputs: Mapping[str, Any],
        usable: Callable[[Entry], bool] = lambda _: True,
        siblings: Iterable[Mapping[str, Any]] = (),
    ) -> dict[int, Held]:
        """What is held of a new entry. Files of it that are damaged count as not there.

        Args:
            inputs: of the new entry.
            usable: whether an older entry may serve.
            siblings: the inputs of entries that may hold some of it too, such as those that this run has
                made since the first question. They are looked up by their keys, also in buckets.

        Returns:
            Step of the new entry -> where it is held.
        """
        with self._lock:
            held: dict[int, Held] = {}
            gone: set[str] = set()
            for step, places in self._places(inputs, siblings).items():
                for key, at in (place for place in places if place[0] not in gone):
                    opened = self._open(key)
                    if not opened or not usable(opened[0]):
                        gone.add(key)
                    elif _is_sound(*opened, at):
                        held[step] = Held(opened[0], at, opened[1])
                        break
            return held

    def listed(self, inputs: Mapping[str, Any]) -> set[int]:
        """The steps of a new entry that older ones list. Whether their files are sound, nobody looks."""
        with self._lock:
            return set(self._places(inputs, ()))

    def _places(
        self, inputs: Mapping[str, Any], siblings: Iterable[Mapping[str, Any]]
    ) -> dict[int, list[tuple[str, int]]]:
        """Step of the new entry -> key and step of the entries that list it: an older one, then siblings."""
        if self._found is None:
            self._found = self._look_through()
        rest, items = _rest(inputs, self._part), [canonical_json(item) for item in inputs[self._part]]
        older = (self._found.get((rest, item)) for item in items)
        places = {step: [place] for step, place in enumerate(older) if place}
        for sibling in (each for each in siblings if _rest(each, self._part) == rest):
            key = entry_key(self._kind, sibling)
            theirs = {canonical_json(item): at for at, item in enumerate(sibling[self._part])}
            for step in (step for step, item in enumerate(items) if item in theirs):
                places.setdefault(step, []).append((key, theirs[items[step]]))
        return places

    def _look_through(self) -> dict[tuple[str, str], tuple[str, int]]:
        """(all other inputs, item of the list) -> key and step of an entry that has them."""
        wanted: dict[str, set[str]] = {}
        for inputs in self._wanted:
            items = wanted.setdefault(_rest(inputs, self._part), set())
            items.update(map(canonical_json, inputs[self._part]))
        found: dict[tuple[str, str], tuple[str, int]] = {}
        for root in (root for root in self._store.roots if isinstance(root, Path)):
            for summary in summaries(LocalRoot(root), self._kind):
                rest = _rest(summary.inputs, self._part)
                listed = summary.inputs.get(self._part, ()) if rest in wanted else ()
                for step, item in enumerate(map(canonical_json, listed)):
                    if item in wanted[rest]:
                        found.setdefault((rest, item), (summary.key, step))
        return found

    def _open(self, key: str) -> tuple[Entry, dict[str, StoredArray]] | None:
        if key not in self._opened and (opened := self._open_anew(key)):
            self._opened[key] = opened
        return self._opened.get(key)

    def _open_anew(self, key: str) -> tuple[Entry, dict[str, StoredArray]] | None:
        try:
            entry = self._store.find(self._kind, key)
            if entry is None:
                return None
            names = {name.partition("/")[0] for name in entry.meta["files"] if "/" in name}
            return entry, {name: entry.array(name) for name in sorted(names)}
        except (DamagedEntryError, EntryMissingError, UnreadableError):
            return None  # as if it were not there: the stage computes what it would have held


def _rest(inputs: Mapping[str, Any], part: str) -> str:
    return canonical_json({name: value for name, value in inputs.items() if name != part})


def _is_sound(entry: Entry, arrays: Mapping[str, StoredArray], step: int) -> bool:
    """Whether the files of a step are what was committed."""
    try:
        for name, array in arrays.items():
            check_step(entry.path, name, step, len(array.shape), entry.meta["files"])
    except (DamagedEntryError, EntryMissingError, UnreadableError):
        return False
    return bool(arrays)
