"""What must stay: the entries that a run names, and those that they were made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from weclick.common.errors import InputError, UnreadableError
from weclick.store.meta import KINDS
from weclick.store.roots.transfer import Root, Wanted
from weclick.store.summaries import Summary, look_up, read_ledger


def reach(entries: Iterable[Summary], named: Iterable[Wanted]) -> set[Wanted]:
    """The named entries, and all that they were made from as far as `entries` tell.

    A network reaches the frames, masks, flows and soft labels that it was trained from, and an online
    teacher. Soft labels reach their teachers, and the flow that they were fused along. So what stays can be
    trained further, or made again, from what stays.

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


def reach_surely(
    root: Root, team: Sequence[Root], entries: Iterable[Summary], named: Collection[Wanted]
) -> tuple[set[Wanted], list[str]]:
    """As `reach`, but compares what tells of other entries with its digest, and looks for it in all roots.

    Args:
        root: that holds `entries`.
        team: other roots, which may hold networks that were trained from them.
        entries: of all kinds.
        named: kind and key of entries.

    Returns:
        What is reached, and one line for each network or soft labels of which nobody knows what they need.
        While there is such a line, nothing may be deleted.
    """
    known, faults = [*entries, *read_ledger(team, ["models"]).entries], []
    looked: set[Wanted] = set()
    networks = {(entry.kind, entry.key) for entry in entries if entry.kind == "models"}
    reached = reach(known, named)
    while asked := (networks | {each for each in reached if each[0] in ("models", "soft_labels")}) - looked:
        for each in sorted(asked):
            try:
                if found := look_up([root, *team], *each):
                    known.append(found)
                else:
                    faults.append(f"{each[0]} entry {each[1]}: results name it, but no root holds it")
            except (InputError, UnreadableError) as error:
                faults.append(str(error))
        looked |= asked
        reached = reach(known, named)
    return reached, faults


def _parts(entry: Summary) -> Iterator[Wanted]:
    """Entries that a network was trained from, and the flow that soft labels were fused along."""
    for kind in KINDS if entry.kind == "models" else ():
        yield from ((kind, str(key)) for key in entry.inputs.get(kind, {}).values())
    if "fuse" in entry.inputs:
        yield "flow", str(entry.inputs["fuse"]["flow"])


def _teachers(entry: Summary) -> Iterator[str]:
    """SHA-256 of the weights that an entry names."""
    for holder in (entry.inputs, entry.inputs.get("online", {})):
        if "teacher_sha256" in holder:
            yield str(holder["teacher_sha256"])
        yield from map(str, holder.get("teachers_sha256", ()))
