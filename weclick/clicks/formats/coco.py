"""COCO keypoints: triples x, y, v. The class of a point is the category of its annotation.

v = 0 is no point; its 0, 0 is not the corner. 1 (hidden) and 2 count. Annotations without keypoints, as of
boxes, are normal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weclick.clicks.formats.json_values import mapping, objects, text
from weclick.clicks.formats.marks import (
    Fault,
    Hint,
    Left,
    Mark,
    Place,
    Point,
    ReadOptions,
    check_count,
    number,
    size,
)
from weclick.clicks.formats.source import AnnotationFile

_ROUNDED = (
    "Label Studio rounds coordinates for COCO, so clicks may be off by a pixel; export its JSON instead"
)


def read_coco(file: AnnotationFile, options: ReadOptions) -> Iterator[Mark] | None:
    """The key points of a COCO file; None if the file is none."""
    raw = file.json
    if not isinstance(raw, dict) or not {"images", "annotations", "categories"} <= raw.keys():
        return None
    return _marks(file, raw)


def _marks(file: AnnotationFile, raw: dict[str, Any]) -> Iterator[Mark]:
    images = {_id(each.get("id")): _place(each) for each in objects(raw["images"], f"{file.name}: images")}
    categories = objects(raw["categories"], f"{file.name}: categories")
    labels = {_id(each.get("id")): text(each.get("name")) for each in categories}
    if mapping(raw.get("info"), f"{file.name}: info").get("contributor") == "Label Studio":
        yield Hint("rounded", f"{file.name}: {_ROUNDED}")
    for position, each in enumerate(objects(raw["annotations"], f"{file.name}: annotations")):
        where = f"annotation {each.get('id', position)!s:.40}"
        values = each.get("keypoints")
        if not isinstance(values, list) or not values:
            yield Left("not_points")
            continue
        if len(values) % 3:
            yield Fault("malformed", f"{file.name}, {where}: {len(values)} keypoint values, expected triples")
            continue
        check_count(len(values) // 3, file.name)
        place = images.get(_id(each.get("image_id")), Place(image=f"id {each.get('image_id')!s:.40}"))
        label = labels.get(_id(each.get("category_id")), "")
        for x, y, visible in zip(values[::3], values[1::3], values[2::3], strict=True):
            if number(visible) == 0:
                yield Left("not_labelled")
            else:
                yield Point(place, number(x), number(y), label, where)


def _id(value: Any) -> str:
    return f"{value!s:.80}"


def _place(image: dict[str, Any]) -> Place:
    return Place(image=text(image.get("file_name")), size=size(image.get("height"), image.get("width")))
