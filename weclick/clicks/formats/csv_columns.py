"""Tables with named columns: a click table, napari's points layer, and what people write themselves.

The names in the header decide which column is y and which is x. In all of them 0 is the centre of the first
pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weclick.clicks.formats.marks import Fault, Mark, Place, Point, ReadOptions
from weclick.clicks.formats.source import AnnotationFile
from weclick.clicks.formats.tables import REST, Table, read_table
from weclick.common.errors import InputError
from weclick.manifest.click_file import ALSO_CALLED, AXES, coordinate

_IMAGES = ("image", "filename", "file_name", "image_name", "image_path", "imagepath", "path", "file", "img")
_NAPARI = {2: ("", "axis-0", "axis-1"), 3: ("axis-0", "axis-1", "axis-2")}
"""Number of axes -> columns of frame, y and x: an image is (Y, X), a video (T, Y, X)."""


def read_csv_columns(file: AnnotationFile, options: ReadOptions) -> Iterator[Mark] | None:
    """The points of a table; None if the file is no table.

    Raises:
        InputError: the header does not tell what y and x are, or several columns may be one.
    """
    table = read_table(file)
    if table is None:
        return None
    twice = [name for name in {*table.columns} - {""} if table.columns.count(name) > 1]
    if twice:
        raise InputError(f"{file.name}: its header has {twice[0]!r} more than once; rename one")
    axes = sorted(name for name in table.columns if name.startswith("axis-"))
    if axes:
        return _napari(file.name, table, axes, options)
    pair = next((each for each in AXES if set(each) <= set(table.columns)), None)
    if pair is None:
        raise InputError(
            f"{file.name}: its header, {', '.join(table.header)[:200]!r}, does not name y and x; call the "
            "columns clip, frame, y, x and class"
        )
    return _named(file.name, table, pair, options)


def _napari(name: str, table: Table, axes: list[str], options: ReadOptions) -> Iterator[Mark]:
    frame, y, x = _NAPARI.get(len(axes), ("", "", ""))
    if axes != [each for each in (frame, y, x) if each]:
        raise InputError(
            f"{name}: its points have the axes {', '.join(axes)[:80]}, expected axis-0, -1, -2 (frame, y, x) "
            "or axis-0, -1 (y, x); save a layer over one video"
        )
    others = [each for each in table.columns if each not in ("index", frame, y, x)]
    label = _column(name, table, "class", options.label_key, others if len(others) == 1 else ())
    for line, row in table.rows:
        where, named = f"line {line}", row.get(frame, "") if frame else "0"
        yield _point(name, table, where, row, (y, x), row.get(label, ""), Place(named=named))


def _named(name: str, table: Table, pair: tuple[str, str], options: ReadOptions) -> Iterator[Mark]:
    clip, frame = (_column(name, table, each) for each in ("clip", "frame"))
    image = next((each for each in _IMAGES if each in table.columns), "")
    label = _column(name, table, "class", options.label_key)
    if not frame and not image:
        raise InputError(f"{name}: its header names no column of frames; call it frame, or image")
    for line, row in table.rows:
        where = f"line {line}"
        clips = (row[clip],) if clip else ()
        place = Place(clips=clips, named=row[frame]) if frame else Place(image=row[image], clips=clips)
        yield _point(name, table, where, row, pair, row.get(label, ""), place)


def _point(
    name: str,
    table: Table,
    where: str,
    row: dict[str, str],
    pair: tuple[str, str],
    label: str,
    place: Place,
) -> Mark:
    if REST in row:
        return Fault(
            "malformed",
            f"{name}, {where}: has more values than the header ({row[REST]!r:.80}); write decimals with a "
            "point, or put values that hold a separator into quotes",
        )
    try:
        y, x = (
            float(coordinate(row[column], axis, f"{name}, {where}", table.separator))
            for column, axis in zip(pair, "yx", strict=True)
        )
    except InputError as error:
        return Fault("malformed", str(error))
    return Point(place, x, y, label, where, unit="centre", who=row.get("who", ""))


def _column(name: str, table: Table, wanted: str, told: str = "", others: Sequence[str] = ()) -> str:
    """The column of a value; empty where the table has none.

    Raises:
        InputError: the column that a person named is not there, or several may be meant.
    """
    if told:
        if told.casefold() not in table.columns:
            raise InputError(
                f"{name}: has no column {told!r} (--label-key), but {', '.join(table.header)[:200]}"
            )
        return told.casefold()
    if wanted in table.columns:
        return wanted
    found = [each for each in table.columns if each in ALSO_CALLED[wanted]]
    if len(found) > 1:
        raise InputError(
            f"{name}: its header has {len(found)} columns for {wanted}: {', '.join(found)}; name one of them "
            f"{wanted}, and the others otherwise"
        )
    return found[0] if found else next(iter(others), "")
