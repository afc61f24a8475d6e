"""Pictures of people's clicks: where on the frame they lie, and the likely wrong ones, large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weclick.clicks.placed import PlacedClick, frames_of
from weclick.clicks.review import Suspect
from weclick.common import words
from weclick.manifest.click_table import POINT
from weclick.runs.report.figures import HEAT
from weclick.runs.report.gallery import Captioned
from weclick.runs.report.pictures import WIDTH_PX, Picture, draw_clicks, picture

CELLS = 32
"""Of the picture of places, along the frame's longer side."""

CROP = 0.4
"""Sides of what is shown around a click, in sides of the frame."""

MAX_PICTURES = 24


def where_picture(clicks: Sequence[PlacedClick]) -> Picture:
    """How many clicks lie in each part of the frame, all frames on top of each other; darker is more."""
    sides = np.median([each.size for each in clicks], axis=0)
    rows, columns = np.maximum(np.rint(CELLS * sides / sides.max()), 1).astype(int)
    places = np.array([each.share for each in clicks])
    cells = (places * (rows, columns)).astype(int)
    counts = np.zeros((rows, columns))
    np.add.at(counts, tuple(cells.T), 1)
    opacity = np.sqrt(counts / counts.max())  # the root lifts single clicks into sight
    color = np.broadcast_to(HEAT, (*counts.shape, 3))
    cell_px = max(WIDTH_PX // columns, 1)
    pixels = np.rint(255 * np.dstack([color, opacity])).astype(np.uint8)
    pixels = pixels.repeat(cell_px, 0).repeat(cell_px, 1)
    most = words.plural(int(counts.max()), "click")
    return picture(
        pixels, f"Where on the frame people click: up to {most} in one of {rows} x {columns} parts"
    )


def suspect_gallery(suspects: Sequence[Suspect]) -> list[Captioned]:
    """The first of the clicks to look at again, each with what lies around it, and a caption."""
    shown = suspects[:MAX_PICTURES]
    pictures: dict[int, Captioned] = {}
    for image, found in frames_of([suspect.click for suspect in shown]):
        for i in found:
            pictures[i] = _captioned(image, shown[i])
    return [pictures[i] for i in range(len(shown))]


def _captioned(image: np.ndarray, suspect: Suspect) -> Captioned:
    click = suspect.click
    who = f" by {click.origin.who}" if click.origin.who else ""
    where = f"{click.click.clip} · {click.click.frame} · y {click.click.y}, x {click.click.x}"
    told = f"{click.click.class_name}{who}, but {suspect.why}"
    crop, point = _around(image, click)
    marked = draw_clicks(crop, point, click.manifest.classes.palette)
    return picture(marked, f"A click in {where}: {told}"), f"{told} · {where}"


def _around(image: np.ndarray, click: PlacedClick) -> tuple[np.ndarray, np.ndarray]:
    """The part of a frame around a click, moved in where the frame ends, and the click in it."""
    place, parts = [], []
    for share, side in zip(click.share, image.shape[:2], strict=True):
        length = max(round(CROP * side), 1)
        at = int(share * side)
        start = min(max(at - length // 2, 0), side - length)
        place.append(at - start)
        parts.append(slice(start, start + length))
    point = np.array([(*place, click.class_id, 0)], POINT)
    return np.ascontiguousarray(image[parts[0], parts[1]]), point
