"""The figures of a flow benchmark, as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weclick.evaluate.bench.flow import MASKS

TITLES = {"table": "Warped from `gap` frames earlier", "truth": "Against the true flow"}
HEADS = {
    "estimator": ("flow", "{}"),
    "gap_frames": ("gap", "{}"),
    "truth": ("true flow", "{}"),
    "mask": ("mask", "{}"),
    "miou": ("mIoU %", "{:.1%}"),
    "epe_px": ("EPE px", "{:.2f}"),
    "outliers": ("Fl %", "{:.1%}"),
    "coverage": ("coverage %", "{:.1%}"),
    "photometric_error_grey_levels": ("photometric error", "{:.2f}"),
    "ms_per_pair": ("ms a pair", "{:.1f}"),
    "pairs": ("pairs", "{}"),
}
"""Key of a row -> head of its column, and how its values are written."""


def tables(result: dict[str, Any]) -> Iterator[Table]:
    """The figures of `bench_flow`, for a terminal; shares in per cent, absent figures as a dash."""
    for part, title in TITLES.items():
        rows = result.get(part, [])
        keys = [key for key in HEADS if any(row.get(key) is not None for row in rows)]
        table = Table(title=title, title_justify="left")
        for key in keys:
            table.add_column(HEADS[key][0], justify="left" if isinstance(rows[0][key], str) else "right")
        for row in rows:
            values = [(row[key], HEADS[key][1]) for key in keys]
            cells = ("-" if value is None else form.format(value).rstrip("%") for value, form in values)
            table.add_row(*map(escape, cells), end_section=row["mask"] == MASKS[-1])
        if rows:
            yield table


def show(result: dict[str, Any]) -> None:
    """Print the tables; they are not cut off where the output is no terminal."""
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    for table in tables(result):
        console.print(table)
