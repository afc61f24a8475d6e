"""Label Studio's JSON: tasks with annotations, whose regions stand in per cent of the image.

Predictions and cancelled annotations are no clicks. Of several people on one task the first counts, by the
lowest id of an annotation. `image_rotation` turns only the view. `keypoint` and `labels` of one id are one
click.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weclick.clicks.formats.json_values import mapping, objects, text
from weclick.clicks.formats.marks import Fault, Hint, Left, Mark, Place, Point, ReadOptions, number, size
from weclick.clicks.formats.source import AnnotationFile
from weclick.manifest.images import IMAGE_SUFFIXES

_POINTS = ("keypoint", "keypointlabels")
_ON_VIDEO = (
    "lies on a video, where Label Studio counts frames from 1, by time and a configured rate; cut the video "
    "into images, and click on these"
)


def read_labelstudio(file: AnnotationFile, options: ReadOptions) -> Iterator[Mark] | None:
    """The points of a JSON export; None if the file is none."""
    raw = file.json
    tasks = [raw] if isinstance(raw, dict) else raw
    if not isinstance(tasks, list) or not tasks or not all(map(_is_task, tasks)):
        return None
    return _marks(file.name, tasks, options)


def _is_task(task: Any) -> bool:
    known = {"annotations", "completions", "predictions"}
    return isinstance(task, dict) and isinstance(task.get("data"), dict) and bool(known & task.keys())


def _marks(name: str, tasks: Sequence[dict[str, Any]], options: ReadOptions) -> Iterator[Mark]:
    shared = 0
    for position, task in enumerate(tasks):
        where = f"task {task.get('id', position)!s:.40}"
        for prediction in objects(task.get("predictions"), f"{name}, {where}: predictions"):
            yield from _left("prediction", prediction, f"{name}, {where}")
        told = task.get("annotations", task.get("completions"))
        annotations = objects(told, f"{name}, {where}: annotations")
        taken = []
        for each in annotations:
            if each.get("was_cancelled") or each.get("skipped"):
                yield from _left("cancelled", each, f"{name}, {where}")
            else:
                taken.append(each)
        people = list(map(annotator_of, taken))
        shared += len(set(people)) > 1
        wanted = wanted_annotator(
            [(id_of(each), who) for each, who in zip(taken, people, strict=True)], options
        )
        for each, who in zip(taken, people, strict=True):
            if not is_annotator(who, wanted):
                yield from _left("other_annotator", each, f"{name}, {where}")
                continue
            inside = f"{where}, annotation {each.get('id')!s:.40}"
            yield from _regions(name, inside, each, mapping(task["data"], name), annotator_name(who))
    if shared:
        yield several(name, shared)


def several(name: str, tasks: int) -> Hint:
    """That several people annotated some tasks."""
    told = f"{name}: several people annotated {tasks} of the tasks; of each the first counts, or --annotator"
    return Hint("several_annotators", told)


def _left(reason: str, annotation: Mapping[str, Any], where: str) -> Iterator[Left]:
    results = objects(annotation.get("result"), f"{where}: result")
    count = sum(each.get("type") in _POINTS for each in results)
    if count:
        yield Left(reason, count)


def _regions(
    name: str, where: str, annotation: Mapping[str, Any], data: Mapping[str, Any], who: str
) -> Iterator[Mark]:
    regions: dict[str, list[dict[str, Any]]] = {}
    for position, result in enumerate(objects(annotation.get("result"), f"{name}, {where}: result")):
        if result.get("type") == "relation":
            yield Left("relation")
        else:
            regions.setdefault(text(result.get("id")) or f"{position}", []).append(result)
    for key, results in regions.items():
        inside = f"{where}, region {key:.40}"
        point = next((each for each in results if each.get("type") in _POINTS), results[0])
        value = mapping(point.get("value"), f"{name}, {inside}: value")
        if str(point.get("type")).startswith("video") or "sequence" in value or "frame" in value:
            yield Fault("video_points", f"{name}, {inside}: {_ON_VIDEO}")
        elif point.get("type") not in _POINTS:
            yield Left("not_points")
        else:
            place = Place(
                image=image_of(data, point.get("item_index")),
                size=size(point.get("original_height"), point.get("original_width")),
            )
            values = [mapping(each.get("value"), f"{name}, {inside}: value") for each in results]
            yield from points(place, value, labels_of(values), inside, who)


def points(
    place: Place, value: Mapping[str, Any], labels: Sequence[str], where: str, who: str
) -> Iterator[Point]:
    """The points of a region: one for each of its labels, as a rule one."""
    x, y = number(value.get("x")), number(value.get("y"))
    for label in labels or [""]:
        yield Point(place, x, y, label, where, unit="percent", who=who)


def labels_of(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """The labels of a region, each once."""
    given = (value.get(key) for value in values for key in ("keypointlabels", "labels"))
    return list(dict.fromkeys(text(each) for labels in given if isinstance(labels, list) for each in labels))


def image_of(data: Mapping[str, Any], item: Any = None) -> str:
    """The name of a task's image: the key is up to the project. Of a list of images, the `item`-th."""
    values = {
        key: value[item] if isinstance(value, list) and type(item) is int and item < len(value) else value
        for key, value in data.items()
    }
    texts = {key: value for key, value in values.items() if isinstance(value, str)}
    ordered = [texts[key] for key in sorted(texts, key=lambda key: key != "image")]
    images = [each for each in ordered if each.partition("?d=")[2].lower().endswith(IMAGE_SUFFIXES)]
    images += [each for each in ordered if each.partition("?")[0].lower().endswith(IMAGE_SUFFIXES)]
    return next(iter(images + ordered), "")


Person = tuple[str, ...]
"""The names that one annotator has in the file: id, e-mail."""


def annotator_of(annotation: Mapping[str, Any], key: str = "completed_by") -> Person:
    """Who made an annotation."""
    told = annotation.get(key)
    if isinstance(told, dict):
        return tuple(filter(None, (text(told.get("id")), text(told.get("email")))))
    return (text(told),)


def annotator_name(who: Person) -> str:
    """The name by which a person stands in the log: the e-mail, or the id where there is none."""
    return who[-1] if who else ""


def wanted_annotator(annotations: Sequence[tuple[float, Person]], options: ReadOptions) -> Person:
    """Whose annotations of a task count: those of `--annotator`, else of whoever has the lowest id."""
    if options.annotator:
        return (options.annotator,)
    return min(annotations, default=(0.0, ()))[1]


def is_annotator(who: Person, wanted: Person) -> bool:
    """Whether it is the same person."""
    return who == wanted or bool(set(who) & set(wanted))


def id_of(annotation: Mapping[str, Any], key: str = "id") -> float:
    """The id of an annotation, to sort by; 0 where it has none."""
    found = number(annotation.get(key))
    return 0.0 if math.isnan(found) else found
