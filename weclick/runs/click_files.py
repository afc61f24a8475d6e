"""Clicks of a folder data set, from the files of other tools and into them."""

from __future__ import annotations

import getpass
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from weclick import __version__
from weclick.clicks.checks import Click, few_words
from weclick.clicks.exporting import WRITERS, sheet_of
from weclick.clicks.formats.marks import ERRORS, LEFT_OUT
from weclick.clicks.formats.to_csv import table
from weclick.clicks.importing import SHOWN, Imported, ImportOptions, import_files
from weclick.common.digest import canonical_json
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import write_text
from weclick.common.words import plural
from weclick.datasets.folder import read_classes
from weclick.datasets.folder_clips import list_clips
from weclick.manifest.click_event import click_of
from weclick.manifest.click_file import CLICK_COLUMNS
from weclick.manifest.click_log import CLICK_LOG, LoggedClick, append_events, read_click_log
from weclick.manifest.names import same_name

_NAMESPACE = UUID("6f5a3c58-6c0e-5d7f-9a55-2b0a4c1e77d1")
"""Of the ids of imported clicks: equal clicks have equal ids, so an import that is repeated adds nothing."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Written:
    """What an import did.

    Attributes:
        found: in the files.
        path: of the file it wrote.
        new: how many of the clicks are new there.
        few: the classes of which the log now has few clicks or none; empty if there are none, or no log.
    """

    found: Imported
    path: Path
    new: int
    few: str = ""


def import_clicks(
    paths: Sequence[Path],
    root: Path,
    options: ImportOptions,
    *,
    classes: Path | None = None,
    out: Path | None = None,
    skip_errors: bool = False,
    who: str = "",
) -> Written:
    """Take the clicks of annotation files into the log of a data set, or into a table.

    Args:
        paths: files, zip archives, and folders of them.
        root: of the data set, as `weclick.datasets.folder` says.
        options: what a person says of the files.
        classes: another classes file than `<root>/classes.yaml`.
        out: a CSV table to write; None appends to `<root>/clicks.jsonl`.
        skip_errors: leave points out that are wrong; else one of them stops all.
        who: stands in the log where a file does not tell it; empty: the user of this process.

    Raises:
        InputError: a file cannot be read, or a point is wrong. Nothing is written then.
    """
    names = read_classes(classes or root / "classes.yaml").names
    clips, log = list_clips(root), root / CLICK_LOG
    logged = read_click_log(log) if out is None and log.is_file() else ()
    known = [
        Click(each.clip, each.frame, each.y, each.x, each.class_name) for each in logged if not each.points
    ]
    found = import_files(paths, clips, root, names, options, known=known)
    if found.errors and not skip_errors:
        raise InputError(_all_errors(found))
    if out is not None:
        write_text(out, table(CLICK_COLUMNS, sorted(found.clicks)))
        return Written(found, out, len(found.clicks))
    events = list(_events(found, who or _user()))
    named = *(each.class_name for each in logged), *(click.class_name for click in found.clicks)
    counts = Counter(named)
    few = few_words({name: counts[name] for name in names})
    return Written(found, log, append_events(log, events) if events else 0, few)


def export_clicks(
    root: Path,
    out: Path,
    *,
    file_format: str,
    only: Sequence[str] = (),
    clicks: Path | None = None,
    classes: Path | None = None,
) -> tuple[int, int]:
    """Write the clicks of a data set for another tool.

    Args:
        root: of the data set, as `weclick.datasets.folder` says.
        out: the file to write.
        file_format: one of WRITERS.
        only: ids of the clips to write; none: all.
        clicks: a log or a table; None takes `<root>/clicks.jsonl`.
        classes: another classes file than `<root>/classes.yaml`.

    Returns:
        How many clicks and how many frames were written.

    Raises:
        MissingFileError: there are no clicks.
        InputError: a clip, frame or class is not in the data set.
    """
    told, clips = read_classes(classes or root / "classes.yaml"), list_clips(root)
    wanted = {_clip_id(name, [clip.id for clip in clips]) for name in only}
    found = [
        each
        for each in _logged(clicks or root / CLICK_LOG, root, classes)
        if not wanted or each.clip in wanted
    ]
    sheet = sheet_of(found, clips, root, told)
    if not sheet.frames:
        raise InputError(
            f"{clicks or root / CLICK_LOG}: holds no click to write; click first, or name other clips"
        )
    write_text(out, WRITERS[file_format](sheet))
    return sum(len(frame.clicks) for frame in sheet.frames), len(sheet.frames)


def lines_of(written: Written) -> Iterator[str]:
    """What an import says at its end, in lines: what was taken, and how many were not, by reason."""
    found = written.found
    frames = {(click.clip, click.frame) for click in found.clicks}
    clips = {click.clip for click in found.clicks}
    yield f"taken {len(found.clicks)}: on {plural(len(frames), 'frame')} of {plural(len(clips), 'clip')}"
    for reason, count in sorted(found.left.items()):
        yield f"left out, {reason} {count}: {LEFT_OUT[reason]}"
    for reason, count in sorted(found.errors.items()):
        yield f"error, {reason} {count}: {ERRORS[reason]}"
    yield f"{written.path}: {plural(written.new, 'click')} {'is' if written.new == 1 else 'are'} new"


def _clip_id(name: str, ids: Sequence[str]) -> str:
    found = same_name(name, ids)
    if found is None:
        raise InputError(f"--clip {name!r} is none of the clips {', '.join(sorted(ids)[:20])}")
    return found


def _logged(path: Path, root: Path, classes: Path | None) -> Sequence[LoggedClick]:
    """The clicks of a log, or of a table."""
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there is no such file of clicks; make it by `weclick click`, or name another"
        )
    if path.suffix == ".jsonl":
        return read_click_log(path)
    names = read_classes(classes or root / "classes.yaml").names
    found = import_files([path], list_clips(root), root, names, ImportOptions(format="csv"))
    if found.errors:
        raise InputError(_all_errors(found))
    return list(map(click_of, _events(found, "")))


def _events(found: Imported, who: str) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for click, (person, kind) in found.clicks.items():
        yield {
            "id": str(uuid5(_NAMESPACE, canonical_json(click))),
            "time": now,
            "clip": click.clip,
            "frame": click.frame,
            "y": click.y,
            "x": click.x,
            "class": click.class_name,
            "source": "import",
            "who": _CONTROLS.sub(" ", person or who)[:100],
            "tool": f"weclick clicks-import {__version__}, {kind}",
        }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return ""


def _all_errors(found: Imported) -> str:
    count = found.errors.total()
    more = [f"and {count - SHOWN} more"] if count > len(found.told) else []
    by_reason = ", ".join(f"{reason} {number}" for reason, number in sorted(found.errors.items()))
    return "\n  ".join(
        [
            f"nothing was written, since {plural(count, 'point')} cannot be taken ({by_reason}):",
            *found.told,
            *more,
            "mend them, or leave them out by --on-error skip",
        ]
    )
