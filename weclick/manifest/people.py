"""Clicks that people made, in the order in which they were written down: from a table or from a log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from weclick.common.content import growing_digest
from weclick.common.digest import file_digest
from weclick.manifest.click_file import ORIGIN_COLUMNS, read_click_file
from weclick.manifest.click_log import LOG_BYTES, LoggedClick, read_click_log

Source = Literal["human", "mask", "import", "ghost"]
"""Where a click comes from: a person, a mask, another tool's file, or an earlier click that was carried along
the flow and confirmed."""

SOURCES: tuple[str, ...] = get_args(Source)
LOG_SUFFIX = ".jsonl"
LETTERS = 100
"""Of a name that is taken from a table; as many as a log allows."""


@dataclass(frozen=True)
class Origin:
    """Who made a click, and with what.

    Attributes:
        source: one of SOURCES.
        who: a person; empty where nobody said.
        tool: that wrote it; empty where nobody said.
    """

    source: str = "human"
    who: str = ""
    tool: str = ""


@dataclass(frozen=True)
class PersonsClick:
    """A click as a person's file has it. Whether its names and places are known, nobody has looked yet.

    Attributes:
        where: its place in the file, such as `line 3`.
        clip, frame: as people name them, see `ClipNames`.
        y, x: px of the upright frame at its full size, as texts that `float` reads.
        class_name: name or id of its class.
        origin: who made it.
        points: (y, x) along a scribble, at least two; none for a click.
    """

    where: str
    clip: str
    frame: str
    y: str
    x: str
    class_name: str
    origin: Origin = Origin()
    points: tuple[tuple[int, int], ...] = ()


def read_people(path: Path, sha256: str | None = None) -> list[PersonsClick]:
    """The clicks of a file that people made: a log if it ends in .jsonl, else a table.

    Args:
        path: of the file.
        sha256: `people_digest` that it must have; None or empty takes any content.

    Raises:
        ChangedFileError, FileNotFoundError, ValueError: as in `read_click_log` and `read_click_file`.
    """
    if Path(path).suffix.lower() == LOG_SUFFIX:
        return [_logged(click) for click in read_click_log(path, sha256)]
    return [_of_row(line, row) for line, row in read_click_file(path, sha256)]


def people_digest(path: Path) -> str:
    """The digest of a file that people made. People may go on clicking: a log's tells how long it was.

    Raises:
        OSError, InputError: it cannot be read.
    """
    is_log = Path(path).suffix.lower() == LOG_SUFFIX
    return growing_digest(path, LOG_BYTES) if is_log else file_digest(path)


def _logged(click: LoggedClick) -> PersonsClick:
    return PersonsClick(
        where=f"click {click.id}",
        clip=click.clip,
        frame=click.frame,
        y=str(click.y),
        x=str(click.x),
        class_name=click.class_name,
        origin=Origin(click.source, click.who, click.tool),
        points=click.points,
    )


def _of_row(line: int, row: dict[str, str]) -> PersonsClick:
    """A row of a table. Its columns may be ones of its maker's own, which mean something else."""
    source, who, tool = (row.get(name, "")[:LETTERS] for name in ORIGIN_COLUMNS)
    origin = Origin(source if source in SOURCES else "human", who, tool)
    return PersonsClick(
        f"line {line}", row["clip"], row["frame"], row["y"], row["x"], row["class"], origin=origin
    )
