"""Where predictions go: class maps, and frames with something drawn on, as images or as a video."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np

from weclick.common.errors import InputError
from weclick.common.files import file_inside, filled_whole
from weclick.common.short_names import short_path
from weclick.evaluate.instance_files import INSTANCES, TRACKS
from weclick.evaluate.jobs import Job
from weclick.evaluate.own_files import MADE_BY, is_own, is_own_json, save_class_map, save_overlay
from weclick.evaluate.reading import Shown
from weclick.evaluate.sources import Source
from weclick.manifest import Classes
from weclick.manifest.video import video_writer

MASKS, OVERLAY, LINES = "masks", "overlay", "json"
"""Folders that predict writes into."""

_NUMBERED = re.compile(r"\d{5,}\.png")

Write = Callable[[Shown, np.ndarray], None]
"""Takes the frames of a source in order, and what is written of each."""


def check_not_in_use(jobs: Sequence[Job], folder: Path, places: Sequence[str]) -> None:
    """Check that no file of somebody else would be replaced.

    Args:
        jobs: what is predicted.
        folder: that is written into.
        places: MASKS, OVERLAY and LINES below it.

    Raises:
        InputError: one would.
    """
    for job in jobs:
        if MASKS in places or OVERLAY in places:
            for source in job.sources:
                check_own(_images_of(source, folder, places), is_own)
        if LINES in places:
            check_own([lines_file(folder, job)], is_own_json)


def check_no_instance_files(folder: Path) -> None:
    """Raises InputError if instances.json or tracks.json there is not predict's own."""
    check_own([folder / INSTANCES, folder / TRACKS], is_own_json)


def check_own(paths: Sequence[Path], own: Callable[[Path], bool]) -> None:
    """Raises InputError if one of these files is there and is not predict's own."""
    for path in paths:
        if path.is_file() and not own(path):
            raise InputError(
                f"{path}: would be replaced, but predict did not write it, or an older version did; "
                "give another --output, or remove the file if you do not need it"
            )


def lines_file(folder: Path, job: Job) -> Path:
    """Where the JSON Lines of a job go.

    Raises:
        InputError: its name leads out of the folder.
    """
    return file_inside(folder / LINES, f"{short_path(job.name, '.jsonl')}.jsonl")


def mask_writer(folder: Path, source: Source, classes: Classes, open_files: ExitStack) -> Write:
    """A function that writes class ids (H, W) uint8 as palette PNGs, <name of the frame>.png.

    Those of a video file appear together when `open_files` closes, or not at all. Those of a stream, which
    may have no end, and of images appear one by one. Of an earlier time, none stay beside those of a video.
    """
    places: dict[Path, tuple[Path, set[str]]] = {}

    def write(frame: Shown, class_ids: np.ndarray) -> None:
        path = file_inside(folder, f"{short_path(frame.name, '.png')}.png")
        if source.is_video:
            if path.parent not in places:
                older = open_files.enter_context(_older_removed(path.parent))
                whole = filled_whole(path.parent)
                place = path.parent if source.address else open_files.enter_context(whole)
                places[path.parent] = place, older
            place, older = places[path.parent]
            older.discard(path.name)
            path = place / path.name
        save_class_map(class_ids, path, classes.palette)

    return write


def overlay_writer(
    folder: Path, source: Source, rate: Callable[[], Fraction | None], open_files: ExitStack
) -> Write:
    """A function that writes pixels (H, W, 3) uint8 RGB.

    Args:
        folder: to write into.
        source: of a video, all goes into one .mp4 with the times of its frames; else each frame into a .jpg.
        rate: tells the frames a second of a video once there is a frame.
        open_files: closes the .mp4, which then appears.
    """
    if source.is_video:
        return _video_overlay(file_inside(folder, f"{short_path(source.name, '.mp4')}.mp4"), rate, open_files)

    def write(frame: Shown, pixels: np.ndarray) -> None:
        save_overlay(pixels, file_inside(folder, f"{short_path(frame.name, '.jpg')}.jpg"))

    return write


class _Times(deque[Fraction]):
    """Times that come while they are used up, so that a long stream's are not all kept."""

    def __iter__(self) -> Iterator[Fraction]:
        while self:
            yield self.popleft()


def _video_overlay(path: Path, rate: Callable[[], Fraction | None], open_files: ExitStack) -> Write:
    times, add = _Times(), None

    def write(frame: Shown, pixels: np.ndarray) -> None:
        nonlocal add
        times.append(frame.time_s or Fraction(0))
        if add is None:
            add = open_files.enter_context(video_writer(path, rate() or Fraction(25), times, comment=MADE_BY))
        add(pixels)

    return write


@contextmanager
def _older_removed(folder: Path) -> Iterator[set[str]]:
    """Names that predict wrote into a video's folder before. What the block leaves of them is removed."""
    found = (path for path in folder.glob("*.png") if _NUMBERED.fullmatch(path.name))
    older = {path.name for path in found if is_own(path)}
    yield older
    for name in older:
        (folder / name).unlink(missing_ok=True)


def _images_of(source: Source, folder: Path, places: Sequence[str]) -> list[Path]:
    """Files of the names that a source's results get, of a folder of masks the first one."""
    found = []
    if OVERLAY in places:
        ending = ".mp4" if source.is_video else ".jpg"
        found.append(folder / OVERLAY / f"{short_path(source.name, ending)}{ending}")
    masks = folder / MASKS / short_path(source.name, ".png")
    if MASKS in places and source.is_video:
        found += sorted(masks.glob("*.png"))[:1]
    elif MASKS in places:
        found.append(masks.with_name(f"{masks.name}.png"))
    return found
