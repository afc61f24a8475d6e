"""Clicks as files of other annotation tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from pathlib import Path, PurePosixPath

from weclick.clicks.formats.sheet import ClickedFrame, Sheet, SheetClick
from weclick.clicks.formats.to_coco import write_coco
from weclick.clicks.formats.to_csv import write_csv
from weclick.clicks.formats.to_cvat import write_cvat
from weclick.clicks.formats.to_labelstudio import write_labelstudio
from weclick.common.errors import InputError
from weclick.manifest.click_log import LoggedClick
from weclick.manifest.clips import Classes, Clip
from weclick.manifest.frame_size import frame_size
from weclick.manifest.names import ClipNames, nearest, same_name, video_name
from weclick.manifest.people import Origin

WRITERS: dict[str, Callable[[Sheet], str]] = {
    "cvat": write_cvat,
    "labelstudio": write_labelstudio,
    "coco": write_coco,
    "csv": write_csv,
}
"""Name of a format -> what writes it."""


def sheet_of(clicks: Iterable[LoggedClick], clips: Sequence[Clip], root: Path, classes: Classes) -> Sheet:
    """The frames that have clicks, for a writer. Scribbles are left out: other tools have none.

    Args:
        clicks: of the log.
        clips: of the data set.
        root: their paths are relative to it.
        classes: of the data set.

    Raises:
        InputError: a click lies on a frame that is not on disk, or has no class of the data set.
    """
    names = ClipNames(clips)
    found: dict[tuple[str, int], list[SheetClick]] = {}
    by_id = {clip.id: clip for clip in clips}
    for click in clicks:
        at, class_name = names.find(click.clip, click.frame), same_name(click.class_name, classes.names)
        if at is None or class_name is None:
            lacking = f"frame {click.frame!r} of clip {click.clip!r} is not on disk"
            if at:
                near = nearest(click.class_name, classes.names)
                lacking = f"class {click.class_name!r} is none of the data set{near}"
            raise InputError(f"click {click.id}: {lacking}; restore it, or undo the click in `weclick click`")
        if not click.points:
            origin = Origin(click.source, click.who, click.tool)
            told = SheetClick(click.y, click.x, class_name, origin)
            found.setdefault((at[0].id, at[1]), []).append(told)
    return Sheet(classes, tuple(_frame(by_id[key[0]], key[1], root, found[key]) for key in sorted(found)))


def _frame(clip: Clip, position: int, root: Path, clicks: Sequence[SheetClick]) -> ClickedFrame:
    frame = clip.frames[position]
    file = PurePosixPath(frame.image).name
    is_video = frame.video_frame is not None
    return ClickedFrame(
        clip=clip.id,
        name=frame.name,
        position=position,
        frames=len(clip.frames),
        size=frame_size(root / frame.image),
        video=video_name(clip) if is_video else "",
        image=f"{clip.id}/{frame.name}.png" if is_video else f"{clip.id}/{file}",
        clicks=tuple(sorted(clicks, key=itemgetter(0, 1, 2))),
    )
