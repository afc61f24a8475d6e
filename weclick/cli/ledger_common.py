"""The parts that the verbs of the ledger share: they read entries and print them."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weclick.cli.cache import root_of
from weclick.common import sections
from weclick.common.disk import is_folder, is_there
from weclick.common.errors import InputError, MissingFileError
from weclick.common.words import mebibytes
from weclick.runs.listed import wanted_of

if TYPE_CHECKING:  # importing the store takes longer than printing help
    from weclick.store import LocalRoot, S3Root, Store, Summary
    from weclick.store.summaries import Ledger

_UNITS_S = {"h": 3600, "d": 86400, "w": 7 * 86400}
_WIDE = 240
"""Columns of text if the output is no terminal."""


def roots_of(given: list[str] | None, config: sections.Config, store: Store) -> list[LocalRoot | S3Root]:
    """The roots that --root names, by default the whole search path.

    Raises:
        InputError: a root that it names is not there.
    """
    from weclick.store import LocalRoot

    roots = [root_of(each, config) for each in given or ()]
    for root in roots:
        if isinstance(root, LocalRoot) and not is_folder(root.path):
            raise MissingFileError(f"{root}: there is no such root; mount it, or correct the name")
    return roots or [*store.team, store.local]


def read_entries(roots: Iterable[LocalRoot | S3Root], kinds: Iterable[str]) -> list[Summary]:
    """The entries of some roots. A line on stderr counts those that cannot be read."""
    ledger = read_all(roots, kinds)
    if ledger.faults:
        print(f"{len(ledger.faults)} entries cannot be read, e.g. {ledger.faults[0]}", file=sys.stderr)
    return ledger.entries


def read_all(roots: Iterable[LocalRoot | S3Root], kinds: Iterable[str]) -> Ledger:
    """The entries of some roots, and what cannot be read of them."""
    from weclick.store import read_ledger

    gc.disable()  # its search would take a quarter of the time, and all that is read stays
    try:
        return read_ledger(roots, kinds)
    finally:
        gc.freeze()
        gc.unfreeze()  # into the oldest generation; otherwise the next search goes through all of them
        gc.enable()


def reached_by(
    results: Iterable[Path], config: sections.Config, entries: Iterable[Summary]
) -> set[tuple[str, str]]:
    """Kind and key of what results name, of what their manifests need, and of what those were made from.

    Raises:
        InputError: as in `named_by`.
    """
    from weclick.store import reach

    return reach(entries, named_by(results, config))


def named_by(results: Iterable[Path], config: sections.Config) -> set[tuple[str, str]]:
    """Kind and key of what results name, and of what their manifests need.

    Raises:
        InputError: some of them are not there, cannot be read, name nothing, or name what is no entry.
    """
    from weclick.store.meta import entry_name

    named: set[tuple[str, str]] = set()
    for path in results:
        if not is_there(path):
            raise MissingFileError(f"{path}: there are no such results; correct the name")
        found = set(wanted_of([path], config, planned=True))
        if not found:
            raise InputError(
                f"{path}: names no entries; give results that hold indexes (flow/train/0.json), manifests "
                "or a model.json"
            )
        for kind, key in found:
            entry_name(kind, key)  # raises for what is no kind or key
        named |= found
    return named


def among(entries: Iterable[Summary], named: Collection[tuple[str, str]]) -> list[Summary]:
    """Those entries whose kind and key are named."""
    return [entry for entry in entries if (entry.kind, entry.key) in named]


def seconds(text: str) -> float:
    """The seconds of a time span such as 12h, 30d or 8w.

    Raises:
        InputError: the text is of another form.
    """
    found = re.fullmatch(rf"(\d+(?:\.\d+)?)([{''.join(_UNITS_S)}])", text)
    if not found:
        raise InputError(f"{text!r} is no time span, expected hours, days or weeks such as 12h, 30d or 8w")
    return float(found[1]) * _UNITS_S[found[2]]


def amount(entries: Sequence[Summary]) -> str:
    """Number and size of entries in words."""
    return "{} entries, {} MiB".format(*count(entries))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns, with numbers and ages aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    console = console if console.is_terminal else Console(markup=False, highlight=False, width=_WIDE)
    table = Table()
    for column in columns:
        right = column in ("MiB", "entries", "reached", "made", "used")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def count(entries: Sequence[Summary]) -> tuple[str, str]:
    """Number of entries, and MiB."""
    return str(len(entries)), mebibytes(sum(entry.entry_bytes for entry in entries))
