"""DeepLabCut's CollectedData.csv: one row an image, a pair of columns x, y for each body part.

Three or four rows are the header: scorer, (individuals,) bodyparts, coords. The image stands in the first
column, or as folder, video and file in the first three. The class is the body part. An empty pair is no
point. 0 is the centre of the first pixel, as napari draws it.
"""

from __future__ import annotations

from collections.abc import Iterator

from weclick.clicks.formats.marks import Left, Mark, Place, Point, ReadOptions, number
from weclick.clicks.formats.source import AnnotationFile
from weclick.clicks.formats.tables import read_cells
from weclick.common.errors import InputError

_HEADS = ("scorer", "individuals", "bodyparts", "coords")


def read_deeplabcut(file: AnnotationFile, options: ReadOptions) -> Iterator[Mark] | None:
    """The points of a DeepLabCut table; None if the file is none."""
    rows = read_cells(file)
    first = next(rows, (0, []))[1] if rows is not None else []
    if rows is None or not first or first[0].strip().casefold() != _HEADS[0]:
        return None
    return _marks(file.name, rows)


def _marks(name: str, rows: Iterator[tuple[int, list[str]]]) -> Iterator[Mark]:
    heads: dict[str, list[str]] = {}
    for line, cells in rows:
        head = cells[0].strip().casefold()
        if head in _HEADS:
            heads[head] = [cell.strip() for cell in cells]
            continue
        parts, axes = heads.get("bodyparts", []), heads.get("coords", [])
        columns = [i for i, axis in enumerate(axes) if axis == "x" and axes[i + 1 : i + 2] == ["y"]]
        if not columns or len(parts) != len(axes):
            raise InputError(f"{name}: has no rows `bodyparts` and `coords` of pairs x, y; export it again")
        place = Place(image="/".join(cell.strip() for cell in cells[: columns[0]] if cell.strip()))
        for i in columns:
            x, y = (cells[i + j].strip() if i + j < len(cells) else "" for j in (0, 1))
            if not x and not y:
                yield Left("not_labelled")
            else:
                yield Point(place, number(x), number(y), parts[i], f"line {line}", unit="centre")
