"""labelme 5 and 6: a JSON file for each image. EXIF was applied before people clicked."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from weclick.clicks.formats.json_values import objects, text
from weclick.clicks.formats.marks import Left, Mark, Place, Point, ReadOptions, number, size
from weclick.clicks.formats.source import AnnotationFile


def read_labelme(file: AnnotationFile, options: ReadOptions) -> Iterator[Mark] | None:
    """The points of a labelme file; None if the file is none."""
    raw = file.json
    if not isinstance(raw, dict) or not {"shapes", "imagePath"} <= raw.keys():
        return None
    return _marks(file, raw)


def _marks(file: AnnotationFile, raw: dict) -> Iterator[Mark]:
    image = text(raw["imagePath"]).replace("\\", "/")  # as Windows writes it
    folder = posixpath.dirname(str(file.path))  # imagePath begins there
    place = Place(
        image=posixpath.normpath(posixpath.join(folder, image)),
        size=size(raw.get("imageHeight"), raw.get("imageWidth")),
    )
    for position, shape in enumerate(objects(raw["shapes"], f"{file.name}: shapes")):
        if shape.get("shape_type") != "point":
            yield Left("not_points")
            continue
        points = shape.get("points")
        first = points[0] if isinstance(points, list) and points else None
        x, y = first if isinstance(first, list) and len(first) == 2 else (None, None)
        yield Point(place, number(x), number(y), text(shape.get("label")), f"shape {position}")
