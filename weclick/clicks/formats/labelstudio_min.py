"""Label Studio's JSON-MIN: one flat record for each annotation, regions below the names of their tags.

It tells neither predictions nor what was cancelled. A `keypoint` and its `labels` stand in two lists; that
they have one place shows that they are one click.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weclick.clicks.formats.json_values import text
from weclick.clicks.formats.labelstudio import (
    Person,
    annotator_name,
    annotator_of,
    id_of,
    image_of,
    is_annotator,
    labels_of,
    points,
    several,
    wanted_annotator,
)
from weclick.clicks.formats.marks import Left, Mark, Place, ReadOptions, size
from weclick.clicks.formats.source import AnnotationFile

_OF_SHAPES = {"height", "radiusX", "points", "vertices", "rle", "format", "sequence"}
"""Keys that no point has."""


def read_labelstudio_min(file: AnnotationFile, options: ReadOptions) -> Iterator[Mark] | None:
    """The points of a JSON-MIN export; None if the file is none."""
    raw = file.json
    if not isinstance(raw, list) or not raw or not all(map(_is_record, raw)):
        return None
    return _marks(file.name, raw, options)


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or "data" in record:
        return False
    told = {"annotation_id", "annotator"} & record.keys()
    return bool(told) or any("original_width" in value for value in _values(record))


def _values(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What people drew, below whatever names the project has."""
    lists = (regions for regions in record.values() if isinstance(regions, list))
    return [each for regions in lists for each in regions if isinstance(each, dict)]


def _marks(name: str, records: Sequence[dict[str, Any]], options: ReadOptions) -> Iterator[Mark]:
    by_task: dict[str, list[tuple[float, Person]]] = {}
    for position, record in enumerate(records):
        who = annotator_of(record, "annotator")
        by_task.setdefault(_task(record, position), []).append((id_of(record, "annotation_id"), who))
    shared = sum(len({who for _, who in people}) > 1 for people in by_task.values())
    for position, record in enumerate(records):
        task, who = _task(record, position), annotator_of(record, "annotator")
        found = list(_regions(record, f"task {task:.40}", annotator_name(who)))
        if is_annotator(who, wanted_annotator(by_task[task], options)):
            yield from found
        elif count := sum(not isinstance(each, Left) for each in found):
            yield Left("other_annotator", count)
    if shared:
        yield several(name, shared)


def _task(record: dict[str, Any], position: int) -> str:
    return text(record.get("id")) or f"at {position}"


def _regions(record: dict[str, Any], where: str, who: str) -> Iterator[Mark]:
    image = image_of(record)
    by_place: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for value in _values(record):
        if _OF_SHAPES & value.keys():
            yield Left("not_points")
        elif {"x", "y"} <= value.keys():
            by_place.setdefault((text(value.get("id")), text(value["x"]), text(value["y"])), []).append(value)
    for same in by_place.values():
        place = Place(image=image, size=size(same[0].get("original_height"), same[0].get("original_width")))
        yield from points(place, same[0], labels_of(same), where, who)
