"""`weclick cache gc`: deletes entries of the local root that nothing needs any more."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weclick.cli.app import DEFAULT, Config, Set
from weclick.cli.cache import Kinds, Listed, cache, kinds_of, opened
from weclick.cli.ledger_common import among, amount, print_table, reached_by, read_entries, seconds
from weclick.common.errors import InputError
from weclick.common.words import mebibytes
from weclick.runs.layout import stage_of
from weclick.runs.listed import files_of

if TYPE_CHECKING:  # importing the store takes longer than printing help
    from weclick.store import LocalRoot, Summary

KEPT = "2d"
"""Younger or lately used entries stay: a run may be about to name them, and last use is marked to a day."""


@cache.command()
def gc(
    results: Listed = None,
    kind: Kinds = None,
    older_than: Annotated[str, typer.Option(help="Only entries made longer ago.")] = KEPT,
    unused_since: Annotated[str, typer.Option(help="Only entries not used for this long.")] = KEPT,
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

    Examples:

        weclick cache gc results other/results

        weclick cache gc results --kind flow --unused-since 8w --delete

        weclick cache gc results --max-gib 500 --sweep --delete
    """
    from weclick.store import Bounds, choose, leftovers

    loaded, store = opened(config, change)
    results = results or [Path(loaded["results"])]
    now = time.time()
    bounds = Bounds(
        made_before_unix_s=now - seconds(older_than),
        used_before_unix_s=now - seconds(unused_since),
        kinds=kinds_of(kind),
        max_bytes=None if max_gib is None else int(max_gib * 2**30),
    )
    entries = read_entries([store.local], kinds_of(None))
    reached = reached_by(results, loaded, entries)
    _check_trainings(results)
    chosen = choose(entries, reached, bounds)
    idle = leftovers(store.local) if sweep else []
    _show(chosen)
    kept = among(entries, reached)
    spared = len(entries) - len(chosen) - len(kept)
    print(f"{store.local}: {amount(kept)} are reached, {spared} others stay for their age or the options")
    print(f"{amount(chosen)} may go" + (f", {_size(idle)} MiB may be swept" if sweep else ""))
    if delete:
        _delete(store.local, chosen, idle)
    elif chosen or idle:
        print("nothing was deleted; give --delete to do it")


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
    from weclick.common.progress import progress_bar
    from weclick.store import delete

    with progress_bar(f"gc {root}", len(chosen) + len(idle), "folders") as bar:
        freed = delete(root, chosen, bar.advance)
        for folder in idle:
            with suppress(FileNotFoundError):  # another process was faster
                shutil.rmtree(folder)
            bar.advance()
    print(
        f"{root}: {mebibytes(freed)} MiB of entries deleted"
        + (f", {len(idle)} folders swept" if idle else "")
    )
