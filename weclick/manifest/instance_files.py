"""What COCO's and YouTube-VIS's files of instances have in common: categories, scores, and their checks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from weclick.common.errors import InputError
from weclick.common.schemas import schema_fault

FIRST_ID = 1
"""Of categories, images, videos and annotations. pycocotools takes 0 for none."""

SURE = 1.0
"""The score of a mask that has none, where the others of its file have one."""


def check_file(value: Any, schema: str, where: str) -> Mapping[str, Any]:
    """What a file holds, once its schema is met.

    Raises:
        InputError: it is not.
    """
    if fault := schema_fault(value, schema):
        raise InputError(f"{where}: {fault}; correct the file as data_schema/{schema}.schema.json tells")
    return value


def by_id(items: Iterable[Mapping[str, Any]], what: str, where: str) -> dict[int, Mapping[str, Any]]:
    """Images, videos or categories by their ids.

    Raises:
        InputError: two have one id.
    """
    found: dict[int, Mapping[str, Any]] = {}
    for item in items:
        if item["id"] in found:
            raise InputError(f"{where}: two {what} have the id {item['id']}, expected each to have its own")
        found[item["id"]] = item
    return found


def named(ids: Mapping[int, Any], wanted: int, what: str, where: str) -> Any:
    """What has the id that an annotation names.

    Raises:
        InputError: nothing has.
    """
    if wanted not in ids:
        raise InputError(
            f"{where}: names the {what} {wanted}, which the file does not list; add it there, or take the "
            "annotation out"
        )
    return ids[wanted]


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """The categories of a file: a class and its id, which is FIRST_ID more than the class id."""
    return [{"id": FIRST_ID + number, "name": name} for number, name in enumerate(classes)]


def read_categories(
    listed: Sequence[Mapping[str, Any]], classes: Sequence[str] | None, where: str
) -> tuple[tuple[str, ...], dict[int, int]]:
    """The classes, and the class id of each category.

    Args:
        listed: the file's categories.
        classes: names whose positions are the class ids; None takes the categories in the file's order.
        where: they come from, for errors.

    Raises:
        InputError: two categories share an id or a name, or one is no class.
    """
    by_id(listed, "categories", where)
    names = [category["name"] for category in listed]
    name, count = next(iter(Counter(names).most_common(1)), ("", 0))
    if count > 1:
        raise InputError(f"{where}: two categories have the name {name!r}, expected each to have its own")
    known = tuple(names if classes is None else classes)
    numbers = {name: number for number, name in enumerate(known)}
    if strange := [name for name in names if name not in numbers]:
        raise InputError(
            f"{where}: has the category {strange[0]!r}, which is no class; classes are "
            f"{', '.join(known[:20])}: rename it, or correct the list of classes"
        )
    return known, {category["id"]: numbers[category["name"]] for category in listed}


def read_score(annotation: Mapping[str, Any], where: str) -> float | None:
    """The score of an annotation, if it has one.

    Raises:
        InputError: it is not finite.
    """
    return check_score(annotation["score"], where) if "score" in annotation else None


def check_score(score: Any, where: str) -> float:
    """A score as a float.

    Raises:
        InputError: it is negative or not finite.
    """
    if not math.isfinite(score) or score < 0:
        raise InputError(f"{where}: has the score {score}, expected a finite number of 0 or more")
    return float(score)


def check_class(class_id: Any, count: int, where: str) -> int:
    """A class id as an int.

    Raises:
        InputError: there is no such class.
    """
    if not 0 <= class_id < count:
        raise InputError(
            f"{where}: has the class id {class_id}, expected 0 to {count - 1}, a class of the list"
        )
    return int(class_id)
