"""CVAT for video 1.1 and CVAT for images 1.1: annotations.xml of a task, a job or a project.

Of a track, only key frames that are not `outside` are clicks: CVAT writes every frame in between, too.
`frame` is the absolute number in the video, from 0. A point of a skeleton has the class of the skeleton. In
files of Datumaro it lies in a track inside the track. CVAT for images splits tracks and tells no key frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

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
from weclick.clicks.formats.xml_elements import Element, read_elements

VIDEO_FRAME = re.compile(r"frame_(\d{6,})")
"""How CVAT names the frames of a video."""

_NO_KEY_FRAMES = (
    "CVAT for images tells no key frames, so what CVAT interpolated is taken for clicks; export it as `CVAT "
    "for video 1.1`"
)


@dataclass(frozen=True)
class _Task:
    """What a file tells of a task: names that may be the clip's, frame size, and whether it is a video."""

    clips: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    is_video: bool = False


def read_cvat(file: AnnotationFile, options: ReadOptions) -> Iterator[Mark] | None:
    """The points of an annotations.xml; None if the file is none."""
    if file.ending != ".xml":
        return None
    elements = read_elements(file.name, file.data)
    root = next(elements, None)
    return _marks(file.name, elements) if root and root.tag == "annotations" else None


def _marks(name: str, elements: Iterator[Element]) -> Iterator[Mark]:
    tasks, told = {"": _Task()}, False
    for element in elements:
        attributes = element.attributes
        task = tasks.get(attributes.get("task_id", ""), tasks[""])
        if element.tag == "meta":
            tasks = _tasks(element)
        elif element.tag == "track":
            yield from _track(name, element, task)
        elif element.tag == "image":
            of_video = task.is_video or VIDEO_FRAME.fullmatch(attributes.get("name", ""))
            if of_video and not told and any(child.tag in _WITH_POINTS for child in element.children):
                told = True
                yield Hint("no_key_frames", f"{name}: {_NO_KEY_FRAMES}")
            yield from _image(name, element, task)


def _tasks(meta: Element) -> dict[str, _Task]:
    """Task id -> task; the empty id is the file's only one, or what all of a project share."""
    source = meta.told("source")
    project = meta.find("project", "tasks")
    if project:
        return {"": _Task()} | {each.told("id"): _task(each, "") for each in project.children}
    task = meta.find("task") or meta.find("job")
    return {"": _task(task, source) if task else _Task((source,) * bool(source))}


def _task(task: Element, source: str) -> _Task:
    names = (source, task.told("source"), task.told("name"))
    sides = size(task.told("original_size", "height"), task.told("original_size", "width"))
    return _Task(
        tuple(filter(None, dict.fromkeys(names))), sides, is_video=task.told("mode") == "interpolation"
    )


def _track(name: str, track: Element, task: _Task) -> Iterator[Mark]:
    where = f"{name}, line {track.line}"
    for shape in _shapes(track, {}):
        frame = shape.attributes.get("frame", "")
        if shape.tag != "points":
            yield Left("not_points")
        elif not frame.isdecimal() or len(frame) > 9:
            yield Fault("malformed", f"{where}: its points are on frame {frame!r:.40}, expected a number")
        else:
            place = Place(clips=task.clips, number=int(frame), size=task.size)
            yield from _points(name, shape, place, track.attributes.get("label", ""))


def _image(name: str, image: Element, task: _Task) -> Iterator[Mark]:
    attributes = image.attributes
    place = Place(
        image=attributes.get("name", ""),
        clips=task.clips,
        size=size(attributes.get("height"), attributes.get("width")),
    )
    for child in image.children:
        for shape in _shapes(child, {}) if child.tag == "skeleton" else [child]:
            if shape.tag == "points":
                yield from _points(name, shape, place, child.attributes.get("label", ""))
            else:
                yield Left("not_points")


_INHERITED = ("frame", "keyframe")
_WITH_POINTS = ("points", "skeleton")


def _shapes(parent: Element, inherited: dict[str, str]) -> Iterator[Element]:
    """The shapes of a track or skeleton, and of those inside it, with the frame that their parents tell."""
    told = inherited | {key: parent.attributes[key] for key in _INHERITED if key in parent.attributes}
    for child in parent.children:
        if child.tag in ("skeleton", "track"):
            yield from _shapes(child, told)
        elif child.tag != "attribute":
            child.attributes = told | child.attributes
            yield child


def _points(name: str, shape: Element, place: Place, label: str) -> Iterator[Mark]:
    text, where = shape.attributes.get("points", ""), f"line {shape.line}"
    count = text.count(";") + 1
    if shape.attributes.get("outside") == "1":
        yield Left("outside", count)
    elif shape.attributes.get("keyframe") == "0":
        yield Left("interpolated", count)
    else:
        check_count(count, name)
        for pair in text.split(";"):
            x, _, y = pair.partition(",")
            yield Point(place, number(x), number(y), label, where)
