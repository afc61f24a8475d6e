"""VIA 3 projects (JSON): points on images, or on a video at a time in seconds.

`xy` is [1, x, y] for a point, `z` is [seconds], empty for an image. `av` holds attributes by id, and of a
choice the option's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weclick.clicks.formats.attributes import chosen_key
from weclick.clicks.formats.json_values import mapping, text
from weclick.clicks.formats.marks import Left, Mark, Place, Point, ReadOptions, number
from weclick.clicks.formats.source import AnnotationFile

_POINT = 1


def read_via3(file: AnnotationFile, options: ReadOptions) -> Iterator[Mark] | None:
    """The points of a VIA 3 project; None if the file is none."""
    raw = file.json
    if not isinstance(raw, dict) or not {"metadata", "file", "view", "attribute"} <= raw.keys():
        return None
    return _marks(file.name, raw, options)


def _marks(name: str, raw: dict[str, Any], options: ReadOptions) -> Iterator[Mark]:
    files, views, kinds, metadata = (
        mapping(raw[key], f"{name}: {key}") for key in ("file", "view", "attribute", "metadata")
    )
    attributes = {key: mapping(kind, f"{name}: attribute {key}") for key, kind in kinds.items()}
    points = []
    for key, each in metadata.items():
        told = mapping(each, f"{name}: metadata {key}")
        xy = told.get("xy")
        if isinstance(xy, list) and len(xy) == 3 and xy[0] == _POINT:
            points.append((key, told, _values(name, told, attributes)))
        else:
            yield Left("not_points")
    named = text(attributes.get(options.label_key, {}).get("aname")) or options.label_key
    chosen = chosen_key((values for _, _, values in points), named)
    for key, told, values in points:
        place = _place(name, told, views, files)
        for label in values.get(chosen) or [""]:
            yield Point(place, number(told["xy"][1]), number(told["xy"][2]), label, f"metadata {key}")


def _values(name: str, told: dict[str, Any], attributes: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Name of an attribute -> what the point has there: a text, or the names of the chosen options."""
    values = {}
    for key, value in mapping(told.get("av"), f"{name}: av").items():
        attribute = attributes.get(key, {})
        options = mapping(attribute.get("options"), f"{name}: options of attribute {key}")
        chosen = text(value).split(",") if options else [text(value)]
        values[text(attribute.get("aname")) or key] = [text(options.get(each, each)) for each in chosen]
    return values


def _place(name: str, told: dict[str, Any], views: dict[str, Any], files: dict[str, Any]) -> Place:
    view = mapping(views.get(text(told.get("vid"))), f"{name}: view")
    ids = view.get("fid_list")
    listed = mapping(files.get(text(ids[0])) if isinstance(ids, list) and ids else None, f"{name}: file")
    named, times = text(listed.get("fname")), told.get("z")
    if isinstance(times, list) and times:
        return Place(clips=(named,), time_s=number(times[0]))
    return Place(image=named)
