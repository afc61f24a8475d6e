"""`weclick lock` and `weclick reproduce`: pin a run down, and compare another one with it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import OutputFile, Set, app
from weclick.runs.layout import DEFAULT

MOST_LINES = 10


@app.command()
def lock(
    output: OutputFile,
    results: Annotated[Path, typer.Option(help="Folder of the finished run.")] = DEFAULT.folder,
    code: Annotated[
        dict, typer.Option(parser=json.loads, metavar="JSON", help="Stage -> digest of its code.")
    ] = "{}",  # type: ignore[assignment]
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads a network had. Default: all.")
    ] = None,
) -> None:
    """Pin a finished run down in one file; the workflow does so at its end.

    Example:

        weclick lock --results results --output results/run.lock.json
    """
    from weclick.common.files import write_text
    from weclick.runs.lock import make_lock, spell_lock
    from weclick.runs.pins import unpinned

    made = make_lock(results, code, _at_most(threads))
    if gone := unpinned(made):
        print(
            f"weclick: {gone} entries of this run are in no root; the lock does not pin them", file=sys.stderr
        )
    write_text(output, spell_lock(made))


@app.command()
def reproduce(
    lock: Annotated[Path, typer.Argument(help="run.lock.json of the run to repeat.", metavar="LOCK")],
    results: Annotated[Path, typer.Option(help="Folder to write the repeated run into.")] = Path(
        "reproduced"
    ),
    cores: Annotated[
        int | None,
        typer.Option(min=1, help="Cores for the workflow. Default: as the run had, at most all here."),
    ] = None,
    change: Set = None,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept-other-contents",
            help="Go on if the store has other content under a key than the lock pins; count it.",
        ),
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Run nothing; compare with this lock or results folder."),
    ] = None,
) -> None:
    """Repeat a run from its lock, and say what differs.

    It runs the lock's configuration in this folder. It takes what the store holds and computes the rest;
    with an empty root, it computes everything. The data are compared first. If they differ, nothing is
    computed. Then the entries that the store has are compared with the digests that the lock pins. An entry
    of other content ends it with an error that names entry and root. The lock does not say where anything
    is written: results go to --results, a toy street too, and entries to your own store.

    Exit status 0 if data, clicks, entries, networks and scores are the same to the last bit, else 1.
    Differences in configuration, code, versions and device are printed too, but do not count.

    Examples:

        weclick reproduce results/run.lock.json

        WECLICK_CACHE=from_scratch weclick reproduce theirs.lock.json --set data.root=/data/city

        weclick reproduce theirs.lock.json --check results
    """
    from weclick.runs.lock import read_lock

    old = read_lock(lock)
    if check:
        new = read_lock(check)
    else:
        from weclick.common.errors import InputError
        from weclick.runs.reproduce import config_of, rerun

        if results.resolve() in (lock.resolve(), lock.resolve().parent):
            raise InputError(
                f"--results is {results}, the folder of the run to repeat; name another one; it is created"
            )
        config = config_of(old, results, change or ())
        new = rerun(old, config, cores=cores or _at_most(old["device"]["threads"]), accept=accept)
        _tell_costs(results)
    if _tell(old, new):
        raise typer.Exit(1)


def _at_most(threads: int | None) -> int:
    """The number of threads, but at most the number of cores."""
    here = len(os.sched_getaffinity(0))
    return min(threads or here, here)


def _tell(old: dict, new: dict) -> bool:
    """Print what differs, part by part; True if the results differ."""
    from weclick.runs.lock import CIRCUMSTANCES, OUTCOME
    from weclick.runs.reproduce import differences

    found = {part: differences(old, new, part) for part in (*CIRCUMSTANCES, *OUTCOME) if part in new}
    for part, lines in found.items():
        told = f"{len(lines)} differ" if lines else "the same"
        told += _uncompared(old, new) if part == "contents" else ""
        print(f"{part}: {told}")
        for line in lines[:MOST_LINES]:
            print(f"    {line}")
        if len(lines) > MOST_LINES:
            print(f"    ... and {len(lines) - MOST_LINES} more")
    differ = [part for part in OUTCOME if found.get(part)]
    if "metrics" not in new:
        print("the data are not those of the lock, so nothing was computed")
    else:
        print(f"what differs: {', '.join(differ)}" if differ else "the results are the same")
    return bool(differ)


def _uncompared(old: dict, new: dict) -> str:
    """How many contents of entries could not be compared, for the end of a line; empty if all could."""
    pinned, found = (
        {(kind, key) for kind in part for key in part[kind]}
        for part in (old.get("contents", {}), new["contents"])
    )
    if "contents" not in old:
        return " or unknown: the lock is of an earlier weclick and pins none"
    from weclick.runs.pins import named_by

    asked = set(named_by(new))
    counts = {
        "the other run has other keys": len(pinned - found - asked),
        "they are in no root": len((pinned - found) & asked),
    }
    told = [
        f"{count} of {len(pinned)} could not be compared: {why}" for why, count in counts.items() if count
    ]
    return "".join(f", but {each}" for each in told)


def _tell_costs(results: Path) -> None:
    """Print what the latest run of each stage found in the store, and what it made."""
    from weclick.runs.report.provenance import costs

    for row in costs(results):
        if row["last_made"]:
            print(f"{row['stage']}: {row['last_found']} entries found, {row['last_made']} made")
