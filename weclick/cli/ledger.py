"""`weclick cache ls`, `du`: list and sum up the entries of the store."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weclick.cli.app import DEFAULT, Config, Set
from weclick.cli.cache import Kinds, Listed, cache, kinds_of, opened
from weclick.cli.ledger_common import (
    among,
    amount,
    count,
    print_table,
    reached_by,
    read_entries,
    roots_of,
    seconds,
)
from weclick.common.errors import InputError
from weclick.common.files import read_json
from weclick.common.strict_json import strict_json
from weclick.common.words import mebibytes
from weclick.runs.listed import files_of

if TYPE_CHECKING:  # importing the store takes longer than printing help
    from weclick.store import LocalRoot, S3Root, Summary
    from weclick.store.signatures import Trust

AT_MOST = 40
"""Rows that `ls` shows by default. To print many thousands would take longer than to find them."""

SORTS = {
    "size": lambda entry: -entry.entry_bytes,
    "age": lambda entry: entry.created_unix_s,
    "use": lambda entry: entry.last_unix_s,
    "kind": lambda entry: (entry.kind, entry.made_with, entry.first_frame),
}

Roots = Annotated[
    list[str] | None,
    typer.Option("--root", help="Folder or s3://bucket/prefix; may be repeated. Default: the search path."),
]
OlderThan = Annotated[str | None, typer.Option(help="Only entries made longer ago than e.g. 12h, 30d or 8w.")]
UnusedSince = Annotated[str | None, typer.Option(help="Only entries not used for e.g. 12h, 30d or 8w.")]


@cache.command()
def ls(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Manifests, or results folders that hold some; they tell the entries' data set."),
    ] = None,
    kind: Kinds = None,
    root: Roots = None,
    older_than: OlderThan = None,
    unused_since: UnusedSince = None,
    sort: Annotated[str, typer.Option(help=f"{', '.join(SORTS)}: the largest, or oldest, first.")] = "size",
    rows: Annotated[int, typer.Option(min=0, help="Show at most this many.")] = AT_MOST,
    as_json: Annotated[bool, typer.Option("--json", help="Print all entries as JSON, one a line.")] = False,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """List the entries of the store: their data, maker, size, age and last use.

    With cache.trusted_keys, the list also tells which entries are signed by one of them.

    An entry does not know its data set. The list shows it if a manifest of `results` (by default those of
    the configuration) names one of its frames, by content. Only the local root marks last use, to a day.

    Examples:

        weclick cache ls

        weclick cache ls --kind flow --unused-since 30d --sort use

        weclick cache ls --root s3://team/weclick --json
    """
    if sort not in SORTS:
        raise InputError(f"--sort is {sort!r}, expected one of {', '.join(SORTS)}")
    loaded, store = opened(config, change, defaults=True)
    now = time.time()
    made_until, used_until = (now - seconds(given or "0h") for given in (older_than, unused_since))
    roots = roots_of(root, loaded, store)
    entries = [
        entry
        for entry in read_entries(roots, kinds_of(kind))
        if entry.created_unix_s <= made_until and entry.last_unix_s <= used_until
    ]
    entries.sort(key=SORTS[sort])
    clips = _clips(results or [path for path in [Path(loaded["results"])] if path.is_dir()])
    judge = _judge(roots, store.trust)
    told = [_tell(entry, clips) | judge(entry) for entry in (entries if as_json else entries[:rows])]
    if as_json:
        print("[" + ",\n ".join(map(strict_json, told)) + "]")
        return
    columns = ("kind", "data set", "clip", "made with", "codec", "MiB", "made", "used", "by", "key", "root")
    print_table((*columns, "signed") if store.trust else columns, [_cells(row, now) for row in told])
    hidden = len(entries) - len(told)
    print(amount(entries) + (f"; {hidden} of them are not shown (--rows)" if hidden else ""))


@cache.command()
def du(
    results: Listed = None,
    kind: Kinds = None,
    root: Roots = None,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Sum up the store: entries and bytes by root, kind, estimator or teacher, and codec.

    With results, it also shows how much of the store they reach; `weclick cache gc` would keep that.

    Examples:

        weclick cache du

        weclick cache du results other/results
    """
    from weclick.store import folder_bytes, leftovers

    loaded, store = opened(config, change, defaults=True)
    entries, kinds = read_entries(roots_of(root, loaded, store), kinds_of(None)), kinds_of(kind)
    reached = reached_by(results, loaded, entries) if results else set()
    groups = defaultdict(list)
    for entry in entries:
        if entry.kind in kinds:
            groups[entry.root, entry.kind, entry.made_with, entry.codec].append(entry)
    table = [
        (*group, *count(found), *(count(among(found, reached)) if results else ()))
        for group, found in sorted(groups.items())
    ]
    columns = ("root", "kind", "made with", "codec", "entries", "MiB")
    print_table((*columns, "reached", "MiB") if results else columns, table)
    entries = [entry for found in groups.values() for entry in found]
    print(amount(entries) + (f"; reached: {amount(among(entries, reached))}" if results else ""))
    if not root and (idle := leftovers(store.local, time.time(), floor_s=0)):
        mib = mebibytes(sum(map(folder_bytes, idle)))
        print(f"{store.local}: {mib} MiB in quarantine or left by killed runs (weclick cache gc --sweep)")


def _clips(results: Iterable[Path]) -> dict[str, tuple[str, str]]:
    """Digest of a frame -> data set and clip, from the manifests among results."""
    clips: dict[str, tuple[str, str]] = {}
    for path in results:
        for file in files_of(path, planned=True) if path.is_dir() else [path]:
            raw = read_json(file, "manifest")
            for clip in raw.get("clips", ()):
                names = raw["dataset"], clip["id"]
                clips |= {frame["digest"]: names for frame in clip["frames"]}
    return clips


def _judge(roots: Iterable[LocalRoot | S3Root], trust: Trust) -> Callable[[Summary], dict[str, str]]:
    """Says of an entry whether a trusted key signed it; says nothing if there are no trusted keys."""
    from weclick.store import DamagedEntryError

    of = {str(root): root for root in roots}

    def judge(entry: Summary) -> dict[str, str]:
        if not trust:
            return {}
        try:
            meta = of[entry.root].find_meta(entry.kind, entry.key)
        except DamagedEntryError:
            return {"signed": "damaged"}
        return {"signed": trust.judge(of[entry.root], meta) if meta else "gone"}

    return judge


def _tell(entry: Summary, clips: dict[str, tuple[str, str]]) -> dict[str, Any]:
    known = (clips[digest] for digest in (entry.frames if clips else ()) if digest in clips)
    dataset, clip = next(known, (None, None))
    return {
        "root": entry.root,
        "kind": entry.kind,
        "key": entry.key,
        "data_set": dataset,
        "clip": clip,
        "first_frame": entry.first_frame,
        "made_with": entry.made_with,
        "codec": entry.codec,
        "entry_bytes": entry.entry_bytes,
        "user": entry.user,
        "created_unix_s": entry.created_unix_s,
        "used_unix_s": entry.used_unix_s,
    }


def _cells(told: dict[str, Any], now: float) -> tuple[str, ...]:
    used = "-" if told["used_unix_s"] is None else _age(now - told["used_unix_s"])
    return (
        told["kind"],
        told["data_set"] or "",
        told["clip"] or told["first_frame"],
        told["made_with"],
        told["codec"],
        mebibytes(told["entry_bytes"]),
        _age(now - told["created_unix_s"]),
        used,
        told["user"],
        told["key"][:12],
        told["root"],
        *([told["signed"]] if "signed" in told else []),
    )


def _age(seconds: float) -> str:
    """A time span in the largest unit that it fills."""
    return f"{seconds / 86400:.0f} d" if seconds >= 86400 else f"{max(seconds, 0) / 3600:.0f} h"
