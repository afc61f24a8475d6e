"""CVAT's XML: of a video tracks of one key frame (`CVAT for video 1.1`), of images points (`for images`).

One video gives the file of a task, which CVAT takes as annotations of that task. Several clips with videos
among them give the file of a project, whose tracks name their task.
"""

from __future__ import annotations

from xml.etree import ElementTree

from weclick.clicks.formats.sheet import ClickedFrame, Sheet, SheetClick, centre
from weclick.manifest.clips import Classes


def write_cvat(sheet: Sheet) -> str:
    """The clicks as annotations.xml."""
    root = ElementTree.Element("annotations")
    _text(root, "version", "1.1")
    meta = ElementTree.SubElement(root, "meta")
    images = [frame for frame in sheet.frames if not frame.video]
    videos = {frame.clip: frame for frame in sheet.frames if frame.video}
    ids = {clip: str(number) for number, clip in enumerate(videos, 1)}
    is_project = len(videos) > 1 or bool(videos and images)
    if is_project:
        project = ElementTree.SubElement(meta, "project")
        tasks = ElementTree.SubElement(project, "tasks")
        _labels(project, sheet.classes)
        for video in videos.values():
            _video_task(tasks, ids[video.clip], video)
    elif videos:
        (video,) = videos.values()
        _labels(_video_task(meta, "1", video), sheet.classes)
        _text(meta, "source", video.video)
    else:
        task = ElementTree.SubElement(meta, "task")
        _text(task, "mode", "annotation")
        _labels(task, sheet.classes)
    for number, frame in enumerate(images):
        _image(root, number, frame)
    clicks = ((frame, click) for frame in sheet.frames if frame.video for click in frame.clicks)
    for number, (frame, click) in enumerate(clicks):
        _track(root, number, frame, click, {"task_id": ids[frame.clip]} if is_project else {})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _video_task(parent: ElementTree.Element, number: str, first: ClickedFrame) -> ElementTree.Element:
    task = ElementTree.SubElement(parent, "task")
    told = {
        "id": number,
        "name": first.clip,
        "size": str(first.frames),
        "mode": "interpolation",
        "start_frame": "0",
        "stop_frame": str(first.frames - 1),
        "source": first.video,
    }
    for tag, text in told.items():
        _text(task, tag, text)
    size = ElementTree.SubElement(task, "original_size")
    _text(size, "width", str(first.size[1]))
    _text(size, "height", str(first.size[0]))
    return task


def _labels(parent: ElementTree.Element, classes: Classes) -> None:
    labels = ElementTree.SubElement(parent, "labels")
    for name, color in zip(classes.names, classes.palette, strict=True):
        label = ElementTree.SubElement(labels, "label")
        _text(label, "name", name)
        _text(label, "color", "#" + bytes(color).hex())
        _text(label, "type", "points")
        ElementTree.SubElement(label, "attributes")


def _image(root: ElementTree.Element, number: int, frame: ClickedFrame) -> None:
    height, width = frame.size
    told = {"id": str(number), "name": frame.image, "width": str(width), "height": str(height)}
    image = ElementTree.SubElement(root, "image", told)
    for click in frame.clicks:
        told = {"label": click.class_name, "source": "manual", "occluded": "0"}
        ElementTree.SubElement(image, "points", told | {"points": _place(click), "z_order": "0"})


def _track(
    root: ElementTree.Element, number: int, frame: ClickedFrame, click: SheetClick, task: dict[str, str]
) -> None:
    told = {"id": str(number), "label": click.class_name, "source": "manual"}
    track = ElementTree.SubElement(root, "track", told | task)
    for position, outside in ((frame.position, "0"), (frame.position + 1, "1")):  # a shape ends by `outside`
        if position < frame.frames:
            told = {"frame": str(position), "keyframe": "1", "outside": outside, "occluded": "0"}
            ElementTree.SubElement(track, "points", told | {"points": _place(click), "z_order": "0"})


def _place(click: SheetClick) -> str:
    return f"{centre(click.x):.2f},{centre(click.y):.2f}"


def _text(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text
