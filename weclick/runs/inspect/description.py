"""What `weclick inspect` says of a file: facts, tables and faults, all of them text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

AT_MOST = 40
"""Rows of a table that are shown; the rest are counted."""


@dataclass(frozen=True)
class Table:
    """Rows under named columns, all of them text."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Description:
    """The description of a file or store entry.

    Attributes:
        kind: as `kind_of` returns it.
        title: in words.
        facts: name -> value.
        tables: the details.
        faults: what is wrong with it; empty if all is well.
    """

    kind: str
    title: str
    facts: Mapping[str, str]
    tables: tuple[Table, ...] = ()
    faults: tuple[str, ...] = ()


def cut(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """A table of at most AT_MOST rows; a last row says how many more there are."""
    if len(rows) > AT_MOST:
        rest = (f"… {len(rows) - AT_MOST} more", *("" for _ in columns[1:]))
        rows = [*rows[:AT_MOST], rest]
    return Table(title, columns, rows)
