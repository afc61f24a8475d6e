"""Click tables that people made, as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from weclick.common.content import read_content
from weclick.common.errors import InputError, MissingFileError

CLICK_COLUMNS = ("clip", "frame", "y", "x", "class")


def read_click_file(path: Path, sha256: str | None = None) -> list[tuple[int, dict[str, str]]]:
    """The rows of a click table that people made, as (line number, column -> text).

    The table is CSV in UTF-8 with a header; `frame` is a frame's name or number, `class` a name or id,
    `y` and `x` are pixels counted from 0 at the centre of the upper left pixel. Other columns are ignored.

    Args:
        path: of the table.
        sha256: hex digest that its content must have; None or empty takes any content.

    Raises:
        ChangedFileError: its content has another digest.
        FileNotFoundError: there is no such file.
        ValueError: the header lacks a column, or a row lacks a value.
    """
    try:
        text = read_content(path, sha256).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such click table; correct data.clicks") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no CSV in UTF-8 ({error}); save the table as such") from error
    try:
        rows = _rows(path, csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); save the table as CSV") from error
    for line, row in rows:
        if "" in row.values():
            raise InputError(
                f"{path}, line {line}: a value is missing in {row}; give all five or drop the line"
            )
    return rows


def _rows(path: Path, reader: csv.DictReader) -> list[tuple[int, dict[str, str]]]:
    missing = [name for name in CLICK_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"{path}: its header lacks {', '.join(missing)}; "
            f"the first line should be {','.join(CLICK_COLUMNS)}"
        )
    return [(reader.line_num, {name: (row[name] or "").strip() for name in CLICK_COLUMNS}) for row in reader]
