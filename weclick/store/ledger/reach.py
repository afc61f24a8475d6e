"""What must stay: the entries that a run names, and those that they were made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from weclick.store.ledger.read import Summary
from weclick.store.meta import KINDS
from weclick.store.roots.transfer import Wanted


def reach(entries: Iterable[Summary], named: Iterable[Wanted]) -> set[Wanted]:
    """The named entries, and all that they were made from as far as `entries` tell.

    A network reaches the frames, flows and soft labels that it was trained from, and an online teacher. Soft
    labels reach their teacher. So what stays can be trained further, or made again, from what stays.

    Args:
        entries: of all kinds.
        named: kind and key of entries, whether or not they are among `entries`.
    """
    known: dict[Wanted, list[Summary]] = defaultdict(list)
    networks: dict[str, set[Wanted]] = defaultdict(set)
    for entry in entries:
        known[entry.kind, entry.key].append(entry)
        if entry.kind == "models":
            networks[str(entry.attributes.get("weights_sha256"))].add((entry.kind, entry.key))
    reached: set[Wanted] = set()
    waiting = set(named)
    while waiting:
        each = waiting.pop()
        reached.add(each)
        for entry in known[each]:
            parts = set(_parts(entry))
            for sha256 in _teachers(entry):
                parts |= networks[sha256]
            waiting |= parts - reached
    return reached


def _parts(entry: Summary) -> Iterator[Wanted]:
    """Entries that a network was trained from."""
    for kind in KINDS if entry.kind == "models" else ():
        yield from ((kind, str(key)) for key in entry.inputs.get(kind, {}).values())


def _teachers(entry: Summary) -> Iterator[str]:
    """SHA-256 of the weights that an entry names."""
    for holder in (entry.inputs, entry.inputs.get("online", {})):
        if "teacher_sha256" in holder:
            yield str(holder["teacher_sha256"])
