"""Tags that people wrote down: a table with the columns clip, frame and class, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from weclick.common.content import read_content
from weclick.common.errors import InputError, MissingFileError
from weclick.manifest.click_file import ALSO_CALLED, MAX_BYTES, decoded, separator_of
from weclick.manifest.clips import Clip
from weclick.manifest.names import ClipNames, nearest

TAG_FILE = "tags.csv"
"""Name of the table in the folder of a data set, where `tags.file` names no other one."""

TAG_COLUMNS = ("clip", "frame", "class")
LETTERS = 1000
"""Longer values are no names."""


@dataclass(frozen=True)
class TagRow:
    """A row of the table. Whether its names are known, nobody has looked yet.

    Attributes:
        where: file and line.
        clip, frame: as people name them, see `ClipNames`; the frame is empty for the whole clip.
        class_name: name or id of a class.
    """

    where: str
    clip: str
    frame: str
    class_name: str


def tag_file(named: str | None, root: Path) -> Path:
    """The table of a data set: the one that `tags.file` names, or else TAG_FILE in its root."""
    return Path(named) if named else root / TAG_FILE


def read_tag_file(path: Path) -> list[TagRow]:
    """The rows of a table of tags: CSV in UTF-8 with a header, in the dialects of spreadsheets.

    Columns may be in any order and in capitals, and have some other names (`video`, `label`). Semicolons and
    tabs separate too. Empty rows and other columns are passed over.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no CSV, is empty or too long; its header lacks a column or names one twice; or a row
            lacks its clip or class.
    """
    try:
        text = decoded(str(path), read_content(path, limit_bytes=MAX_BYTES))
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: there is no such table of tags; write one with the header {','.join(TAG_COLUMNS)}, or "
            "correct tags.file or tags.source"
        ) from error
    separator, told = separator_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))][told:]
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); save the table as CSV") from error
    rows = list(_rows(path, lines))
    if not rows:
        raise InputError(
            f"{path}: holds no tag; write a row such as park,,car below the header {','.join(TAG_COLUMNS)}"
        )
    return rows


def placed_tags(
    path: Path, clips: Iterable[Clip], *, all_clips: bool
) -> Iterator[tuple[TagRow, Clip, int | None]]:
    """The rows of a table with their clips, and the positions of their frames; None for the whole clip.

    Args:
        path: of the table.
        clips: those that are known.
        all_clips: whether these are all of the data set, so that another clip is an error. If they are those
            of one split, rows of other clips are left out.

    Raises:
        MissingFileError, InputError: as in `read_tag_file`, or a clip or frame is not there.
    """
    listed = list(clips)
    names = ClipNames(listed)
    for row in read_tag_file(path):
        clip = names.clip(row.clip)
        found = names.find(row.clip, row.frame) if row.frame else None
        if clip is None and all_clips:
            ids = sorted({each.id for each in listed})
            raise InputError(
                f"{row.where}: clip {row.clip!r} is not on disk{nearest(row.clip, ids)}; there are clips "
                f"{', '.join(ids[:20])}; correct the line, or drop it"
            )
        if clip is not None and row.frame and found is None:
            known = [frame.name for frame in clip.frames]
            raise InputError(
                f"{row.where}: clip {row.clip!r} has no frame {row.frame!r}; it has "
                f"{len(known)}, {known[0]!r} to {known[-1]!r}; correct the line, or leave the frame "
                "empty for the whole clip"
            )
        if clip is not None:
            yield row, clip, found[1] if found else None


def _rows(path: Path, lines: list[tuple[int, list[str]]]) -> Iterator[TagRow]:
    header = lines[0][1] if lines else []
    columns = _columns(path, header)
    for number, cells in lines[1:]:
        where = f"{path}, line {number}"
        if any(cell.strip() for cell in cells[len(header) :]):
            raise InputError(
                f"{where}: has {len(cells)} values for {len(header)} columns; put values that hold a "
                "separator into quotes, and each tag into a row of its own"
            )
        clip, frame, name = (cells[i].strip() if i < len(cells) else "" for i in columns)
        if not clip or not name:
            missing = "class" if clip else "clip"
            raise InputError(f"{where}: has no {missing}; give it, or drop the line")
        if max(map(len, (clip, frame, name))) > LETTERS:
            raise InputError(f"{where}: has a value of more than {LETTERS} letters; correct the line")
        yield TagRow(where, clip, frame, name)


def _columns(path: Path, header: list[str]) -> tuple[int, ...]:
    """Places of clip, frame and class in a row."""
    names = [cell.strip().casefold() for cell in header]
    if not names:
        raise InputError(f"{path}: is empty; write a header {','.join(TAG_COLUMNS)}, and a row for each tag")
    found = []
    for name in TAG_COLUMNS:
        called = [i for i, each in enumerate(names) if each == name] or [
            i for i, each in enumerate(names) if each in ALSO_CALLED[name]
        ]
        if len(called) > 1:
            raise InputError(
                f"{path}: its header has {len(called)} columns for {name}: "
                f"{', '.join(names[i] for i in called)}; name one of them {name}, and the others otherwise"
            )
        if not called:
            raise InputError(
                f"{path}: its header lacks {name}; the first line should be {','.join(TAG_COLUMNS)}, or the "
                "same with semicolons or tabs. Values of frame may be empty"
            )
        found += called
    return tuple(found)
