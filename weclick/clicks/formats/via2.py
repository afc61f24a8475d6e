"""VIA 2 (and 1): a CSV with JSON in its cells, or a JSON file, alone or inside a project.

A point is {"name": "point", "cx": 51, "cy": 37}. Its class is one of the region's attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from weclick.clicks.formats.attributes import chosen_key
from weclick.clicks.formats.json_values import mapping, text
from weclick.clicks.formats.marks import Fault, Left, Mark, Place, Point, ReadOptions, number
from weclick.clicks.formats.source import AnnotationFile
from weclick.clicks.formats.tables import read_table
from weclick.common.bounded_json import parse_json
from weclick.common.errors import InputError

_SHAPE, _ATTRIBUTES = "region_shape_attributes", "region_attributes"


def read_via2(file: AnnotationFile, options: ReadOptions) -> Iterator[Mark] | None:
    """The points of a VIA 2 file; None if the file is none."""
    table = read_table(file)
    if table is not None:
        return _marks(_rows(file, table.rows), options) if _SHAPE in table.columns else None
    raw = file.json
    images = raw.get("_via_img_metadata", raw) if isinstance(raw, dict) else None
    values = list(images.values()) if isinstance(images, dict) else []
    if not values or not all(
        isinstance(each, dict) and {"filename", "regions"} <= each.keys() for each in values
    ):
        return None
    return _marks(_regions(file, values), options)


_Region = tuple[Place, dict[str, Any], dict[str, Any], str]
"""Its frame, shape and attributes, and where it is."""


def _rows(file: AnnotationFile, rows: Iterable[tuple[int, dict[str, str]]]) -> Iterator[_Region | Fault]:
    for line, row in rows:
        where = f"line {line}"
        try:
            shape, attributes = (
                mapping(parse_json(row.get(name, "").encode() or b"{}"), f"{file.name}, {where}: {name}")
                for name in (_SHAPE, _ATTRIBUTES)
            )
        except ValueError as error:
            yield Fault("malformed", f"{file.name}, {where}: holds no JSON where VIA writes some ({error})")
            continue
        if shape:  # an image without regions has one row
            yield Place(image=row.get("filename", "")), shape, attributes, where


def _regions(file: AnnotationFile, images: Iterable[dict[str, Any]]) -> Iterator[_Region]:
    for image in images:
        place, regions = Place(image=text(image["filename"])), image["regions"] or []
        listed = regions.values() if isinstance(regions, dict) else regions  # VIA 1 numbers them
        if not isinstance(listed, Iterable):
            raise InputError(f"{file.name}: the regions of {place} are no list; export it again")
        for position, region in enumerate(listed):
            where = f"region {position}"
            told = mapping(region, f"{file.name}, {where}")
            shape, attributes = (
                mapping(told.get(name), f"{file.name}, {where}: {name}")
                for name in ("shape_attributes", "region_attributes")
            )
            yield place, shape, attributes, where


def _marks(regions: Iterable[_Region | Fault], options: ReadOptions) -> Iterator[Mark]:
    points = []
    for region in regions:
        if isinstance(region, Fault):
            yield region
        elif region[1].get("name") == "point":
            points.append(region)
        else:
            yield Left("not_points")
    key = chosen_key((attributes for _, _, attributes, _ in points), options.label_key)
    for place, shape, attributes, where in points:
        for label in _labels(attributes.get(key)):
            yield Point(place, number(shape.get("cx")), number(shape.get("cy")), label, where)


def _labels(value: Any) -> list[str]:
    """The classes that an attribute tells: a text, or the ticked options of a checkbox."""
    ticked = [name for name, is_on in value.items() if is_on] if isinstance(value, dict) else [text(value)]
    return ticked or [""]
