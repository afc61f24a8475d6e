"""Tables with named columns, in the dialects of spreadsheets: as the click table reads them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from weclick.clicks.formats.source import AnnotationFile
from weclick.common.errors import InputError
from weclick.manifest.click_file import separator_of

MOST_COLUMNS = 10_000
REST = ""
"""The column of values for which the header has no name."""


@dataclass
class Table:
    """A table: the names of its columns in small letters, its separator, and its rows to come.

    Rows are (line, column -> text), without empty ones. A row that is too long has its rest under REST.
    """

    columns: tuple[str, ...]
    separator: str
    rows: Iterator[tuple[int, dict[str, str]]]
    header: list[str]


def read_table(file: AnnotationFile) -> Table | None:
    """The table of a CSV file; None if the file ends otherwise.

    Raises:
        InputError: it is no text, or no CSV.
    """
    rows = read_cells(file)
    if rows is None:
        return None
    header = next(rows, (0, []))[1]
    columns = tuple(name.strip().lstrip("#").strip().casefold() for name in header)
    return Table(
        columns,
        separator_of(file.table_text or "")[0],
        ((line, _row(columns, cells)) for line, cells in rows),
        header,
    )


def read_cells(file: AnnotationFile) -> Iterator[tuple[int, list[str]]] | None:
    """(line, cells) of a CSV file's rows, header included; None and Raises as in `read_table`."""
    text = file.table_text
    if text is None:
        return None
    separator, told = separator_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    rows = _lines(file.name, reader)
    if told:
        next(rows, None)
    return rows


def _lines(name: str, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the rows that are not empty."""
    try:
        for cells in reader:
            if len(cells) > MOST_COLUMNS:
                raise InputError(f"{name}: has {len(cells)} columns, expected at most {MOST_COLUMNS}")
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells  # type: ignore[attr-defined]
    except csv.Error as error:
        raise InputError(f"{name}: cannot be read as CSV ({error}); save the table as CSV") from error


def _row(columns: tuple[str, ...], cells: list[str]) -> dict[str, str]:
    row = dict.fromkeys(columns, "") | dict(zip(columns, map(str.strip, cells), strict=False))
    rest = [cell for cell in cells[len(columns) :] if cell.strip()]
    return row | {REST: ", ".join(rest)} if rest else row
