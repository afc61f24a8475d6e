"""`weclick cache gc`: deletes entries of the local root that nothing needs any more."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weclick.cli.app import DEFAULT, Config, Set
from weclick.cli.cache import Kinds, Listed, cache, kinds_of, opened
from weclick.cli.ledger_common import among, amount, named_by, print_table, read_all, seconds
from weclick.common.errors import InputError, UnwritableError
from weclick.common.words import mebibytes
from weclick.runs.layout import stage_of
from weclick.runs.listed import files_of

if TYPE_CHECKING:  # importing the store takes longer than printing help
    from weclick.store import LocalRoot, Summary

KEPT = "2d"
"""Younger or lately used entries stay: a run may be about to name them, and last use is marked to a day."""

SHOWN = 5
"""Faults that are printed."""


@cache.command()
def gc(
    results: Listed = None,
    kind: Kinds = None,
    older_than: Annotated[str, typer.Option(help="Only entries made longer ago.")] = KEPT,
    unused_since: Annotated[
        str, typer.Option(help="Only entries not used for this long; an hour at least.")
    ] = KEPT,
    max_gib: Annotated[
        float | None,
        typer.Option(
            min=0, help="Stop once the root holds no more than this; entries used longest ago go first."
        ),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also delete what lies in quarantine or was left by killed runs.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; without it gc only prints.")] = False,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Delete entries of the local root that no results reach. Without --delete it only says which.

    It keeps the entries that the indexes and models of `results` name (by default those of the
    configuration), and those that their manifests need under the configuration. It also keeps what these
    were made from: the teacher of soft labels, and everything that a network was trained from. Name every
    results folder that uses the root. Team roots are never touched, and runs may go on meanwhile.

    While a result, an entry or a lease cannot be read, or no root holds a network that results name, nobody
    knows what is needed, and --delete deletes nothing. Ages count by the clock of the disk that holds the
    root. What somebody works on stays, and so does what was made or used in the last hour.

    Examples:

        weclick cache gc results other/results

        weclick cache gc results --kind flow --unused-since 8w --delete

        weclick cache gc results --max-gib 500 --sweep --delete
    """
    from weclick.store import FLOOR_S, Bounds, choose, leased, leftovers, reach_surely

    loaded, store = opened(config, change)
    results = results or [Path(loaded["results"])]
    now = _now(store.local, delete)
    bounds = Bounds(
        made_before_unix_s=now - seconds(older_than),
        used_before_unix_s=now - max(seconds(unused_since), FLOOR_S),
        kinds=kinds_of(kind),
        max_bytes=None if max_gib is None else int(max_gib * 2**30),
    )
    ledger = read_all([store.local], kinds_of(None))
    entries = ledger.entries
    reached, unknown = reach_surely(store.local, store.team, entries, named_by(results, loaded))
    _check_trainings(results)
    at_work, unread = leased(store.local)
    unknown_needs = _told([*ledger.faults, *unknown, *unread])
    if delete and unknown_needs:
        raise InputError(f"nothing was deleted: {unknown_needs}")
    chosen = choose(entries, reached | at_work, bounds)
    idle = leftovers(store.local, now) if sweep else []
    _show(chosen)
    kept = among(entries, reached)
    spared = len(entries) - len(chosen) - len(kept)
    print(f"{store.local}: {amount(kept)} are reached, {spared} others stay for their age or the options")
    print(f"{amount(chosen)} may go" + (f", {_size(idle)} MiB may be swept" if sweep else ""))
    if delete:
        _delete(store.local, chosen, idle)
    elif unknown_needs:
        print(f"--delete would delete nothing: {unknown_needs}")
    elif chosen or idle:
        print("nothing was deleted; give --delete to do it")


def _now(root: LocalRoot, delete: bool) -> float:
    """The time by the clock of a root. Where nothing is deleted, it need not be writable."""
    try:
        return root.now()
    except UnwritableError:
        if delete:
            raise
        return time.time()


def _told(faults: Sequence[str]) -> str:
    """Print what could not be read, and say what to do; empty if nothing is unknown."""
    faults = list(dict.fromkeys(faults))
    for fault in faults[:SHOWN]:
        print(f"fault: {fault}", file=sys.stderr)
    what_to_do = (
        f"{len(faults)} entries or leases are unreadable, damaged or gone, so nobody knows what they need; "
        "bring the disk back, move damaged entries away (weclick cache verify --quarantine), and make what "
        "results name again"
    )
    return what_to_do if faults else ""


def _check_trainings(results: Iterable[Path]) -> None:
    """Raise InputError if a training is under way and no index tells what it reads."""
    folders = [path for path in results if path.is_dir()]
    indexed = [path for path in folders if any(stage_of(file) == "frames" for file in files_of(path))]
    for checkpoint in (file for folder in folders for file in folder.rglob("*.pt")):
        if not any(checkpoint.is_relative_to(folder) for folder in indexed):
            raise InputError(
                f"{checkpoint}: a training is under way here, but no index beside it tells what it reads; "
                "name the folder of results that holds its frames/, flow/ and soft_labels/, e.g. results"
            )


def _show(chosen: Iterable[Summary]) -> None:
    groups = defaultdict(list)
    for entry in chosen:
        groups[entry.kind, entry.made_with].append(entry)
    rows = [
        (*group, str(len(found)), mebibytes(sum(entry.entry_bytes for entry in found)))
        for group, found in sorted(groups.items())
    ]
    if rows:
        print_table(("kind", "made with", "entries", "MiB"), rows)


def _size(folders: Iterable[Path]) -> str:
    from weclick.store import folder_bytes

    return mebibytes(sum(map(folder_bytes, folders)))


def _delete(root: LocalRoot, chosen: Sequence[Summary], idle: Sequence[Path]) -> None:
    from weclick.common.disk import remove_tree
    from weclick.common.progress import progress_bar
    from weclick.store import delete

    with progress_bar(f"gc {root}", len(chosen) + len(idle), "folders") as bar:
        freed = delete(root, chosen, bar.advance)
        for folder in idle:
            with suppress(FileNotFoundError):  # another process was faster
                remove_tree(folder)
            bar.advance()
    print(
        f"{root}: {mebibytes(freed)} MiB of entries deleted"
        + (f", {len(idle)} folders swept" if idle else "")
    )
