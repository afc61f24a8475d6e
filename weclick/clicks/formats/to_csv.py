"""A click table: clip, frame, y, x, class, and where each click comes from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple

from weclick.clicks.formats.sheet import Sheet
from weclick.manifest.click_file import CLICK_COLUMNS, ORIGIN_COLUMNS


def write_csv(sheet: Sheet) -> str:
    """The clicks as a table. `y` and `x` are whole px; 0 is the centre of the first pixel."""
    rows = [
        (frame.clip, frame.name, click.y, click.x, click.class_name, *astuple(click.origin))
        for frame in sheet.frames
        for click in frame.clicks
    ]
    return table((*CLICK_COLUMNS, *ORIGIN_COLUMNS), rows)


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A CSV text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
