"""Click tables that people made, as CSV in the dialects of spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from weclick.common.content import read_content
from weclick.common.errors import InputError, MissingFileError

CLICK_COLUMNS = ("clip", "frame", "y", "x", "class")
ORIGIN_COLUMNS = ("source", "who", "tool")
"""Columns that a table may have beside: where a click comes from, who made it and with what."""
SEPARATORS = ",;\t|"
MAX_BYTES = 32 * 2**20
"""A million clicks. Larger files are no table that people made."""

ALSO_CALLED = {
    "clip": ("video", "sequence"),
    "frame": ("frame_number", "frame_name", "frame_id"),
    "class": ("class_name", "class_id", "label", "category"),
}
"""Column -> other names that it may have."""

AXES = (("y", "x"), ("y_px", "x_px"), ("row", "col"), ("row", "column"))
"""How tables call down and right, in that order."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"([+-]?\d*),(\d+)", re.ASCII)
_NO_TEXT = {b"PK\x03\x04": "an Excel or OpenDocument workbook", b"\xd0\xcf\x11\xe0": "an old Excel workbook"}


def read_click_file(path: Path, sha256: str | None = None) -> list[tuple[int, dict[str, str]]]:
    """The rows of a click table that people made, as (line number, column -> text).

    The table is CSV in UTF-8 with a header; `frame` is a frame's name or number, `class` a name or id,
    `y` and `x` are pixels counted from 0 at the centre of the upper left pixel. It may say where each click
    comes from (ORIGIN_COLUMNS). Other columns are ignored.
    Columns may be in any order and in capitals, and have some other names (`video`, `row`, `label`).
    Semicolons and tabs separate too. Then, or in quotes, a number may have a decimal comma. Empty rows are
    passed over.

    Returns:
        Rows; `y` and `x` are texts that `float` reads. Of ORIGIN_COLUMNS they have those of the header.

    Args:
        path: of the table.
        sha256: hex digest that its content must have; None or empty takes any content.

    Raises:
        ChangedFileError: its content has another digest.
        FileNotFoundError: there is no such file.
        ValueError: the header lacks a column, a row lacks a value, or coordinates are no pixels.
    """
    text = _text(Path(path), sha256)
    separator, told = separator_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        rows = list(_rows(path, reader, separator, skip_header=told))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); save the table as CSV") from error
    _check_unit(path, rows)
    return rows


def _text(path: Path, sha256: str | None) -> str:
    try:
        content = read_content(path, sha256, limit_bytes=MAX_BYTES)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such click table; correct data.clicks") from error
    except OSError as error:
        raise InputError(f"{path}: is no CSV in UTF-8 ({error}); save the table as such") from error
    return decoded(str(path), content)


def decoded(name: str, content: bytes) -> str:
    """The text of a table, also as Excel writes it.

    Args:
        name: of the file, for errors.
        content: of the file.

    Raises:
        InputError: it is a workbook, or text in another encoding.
    """
    kind = _NO_TEXT.get(content[:4])
    if kind:
        raise InputError(f"{name}: is {kind}, no text; save the table as CSV in UTF-8")
    utf_16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # Excel's "Unicode text"
    try:
        return content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is no CSV in UTF-8 ({error}); save the table as such") from error


def separator_of(text: str) -> tuple[str, bool]:
    """What separates the values of a table, and whether a line before the header tells it."""
    header = next((line for line in io.StringIO(text, newline=None) if line.strip()), "").rstrip("\n")
    told = re.fullmatch("sep=(.)", header, re.IGNORECASE)  # Excel's own line
    return (told[1], True) if told else (max(SEPARATORS, key=header.count), False)


def _rows(
    path: Path, reader: Any, separator: str, *, skip_header: bool
) -> Iterator[tuple[int, dict[str, str]]]:
    lines = (cells for cells in reader if any(cell.strip() for cell in cells))
    if skip_header:
        next(lines, None)
    header: list[str] = next(lines, [])
    columns = _columns(path, header)
    for cells in lines:
        where = f"{path}, line {reader.line_num}"
        if any(cell.strip() for cell in cells[len(header) :]):
            raise InputError(
                f"{where}: has {len(cells)} values for {len(header)} columns; write decimals with a point, "
                "put values that hold a separator into quotes, or separate by semicolons"
            )
        row = {name: cells[i].strip() if i < len(cells) else "" for name, i in columns.items()}
        if not all(row[name] for name in CLICK_COLUMNS):
            raise InputError(f"{where}: a value is missing in {row}; give all five or drop the line")
        yield reader.line_num, row | {axis: coordinate(row[axis], axis, where, separator) for axis in "yx"}


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Column -> its place in a row."""
    names = [cell.strip().casefold() for cell in header]
    axes = next((pair for pair in AXES if set(pair) <= set(names)), ("y", "x"))
    also_called = ALSO_CALLED | dict(zip("yx", ((axis,) for axis in axes), strict=True))
    found, missing = {}, []
    for name in CLICK_COLUMNS:
        called = [each for each in names if each == name] or [
            each for each in names if each in also_called[name]
        ]
        if len(called) > 1:
            raise InputError(
                f"{path}: its header has {len(called)} columns for {name}: {', '.join(called)}; name one of "
                f"them {name}, and the others otherwise"
            )
        if called:
            found[name] = names.index(called[0])
        else:
            missing.append(name)
    if missing:
        raise InputError(
            f"{path}: its header lacks {', '.join(missing)}; "
            f"the first line should be {','.join(CLICK_COLUMNS)}, or the same with semicolons or tabs"
        )
    return found | {name: names.index(name) for name in ORIGIN_COLUMNS if name in names}


def coordinate(text: str, axis: str, where: str, separator: str) -> str:
    """A coordinate of a table, with a decimal point. NaN and infinity stay, for whoever checks the frame.

    Args:
        text: as it stands in the table.
        axis: y or x, for the error.
        where: the file and line, for the error.
        separator: of the table.

    Raises:
        InputError: it is no number, or may be one of several.
    """
    comma = _DECIMAL_COMMA.fullmatch(text)
    if comma and not (separator == "," and len(comma[2]) == 3):
        text = f"{comma[1]}.{comma[2]}"
    if _NUMBER.fullmatch(text) or text.casefold() in ("nan", "inf", "-inf"):
        return text
    if "%" in text:
        found = "is per cent"
    elif comma:
        found = "may be a number of thousands or have a decimal comma"
    else:
        found = "is no number"
    raise InputError(
        f"{where}: {axis} = {text} {found}; expected pixels such as 140 or 140.5, counted from 0 at the "
        "centre of the upper left pixel"
    )


def _check_unit(path: Path, rows: Sequence[tuple[int, dict[str, str]]]) -> None:
    values = [float(row[axis]) for _, row in rows for axis in "yx"]
    if values and all(0 <= value <= 1 for value in values) and not all(value in (0, 1) for value in values):
        raise InputError(
            f"{path}: all coordinates lie within 0..1, so they are fractions of the image; expected pixels: "
            "write y * height - 0.5 and x * width - 0.5"
        )
