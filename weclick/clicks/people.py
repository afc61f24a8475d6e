"""Clicks that people made: their table, checked against the manifest."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from weclick.common.errors import InputError
from weclick.manifest import Manifest
from weclick.manifest.click_file import read_click_file
from weclick.manifest.click_table import POINT

Points = dict[tuple[str, str], np.ndarray]
"""(clip id, frame name) -> (N,) array of dtype POINT."""


def import_clicks(manifest: Manifest) -> Points:
    """The click file's rows for the targets of this split; other rows belong to another split."""
    assert manifest.click_file is not None
    path = manifest.path(manifest.click_file)
    clips = {clip.id: (clip, clip.positions()) for clip in manifest.clips}
    found: dict[tuple[str, str], list[tuple[int, int, int, int]]] = {}
    for line, row in read_click_file(path, manifest.click_file_digest):
        where = f"{path}, line {line}"
        class_id = _class_id(row["class"], manifest.classes.names, where)
        clip, positions = clips.get(row["clip"], (None, {}))
        position = positions.get(row["frame"])
        if clip is None or position not in clip.targets:
            continue
        y, x = (
            _coordinate(row[axis], axis, side, manifest.shrink, where)
            for axis, side in zip("yx", clip.size, strict=True)
        )
        found.setdefault((clip.id, clip.frames[position].name), []).append((y, x, class_id, 0))
    return {key: sorted_clicks(clicks) for key, clicks in found.items()}


def sorted_clicks(clicks: Iterable[tuple[int, int, int, int]]) -> np.ndarray:
    """(y, x, class id, area) of each click -> the array of a click table, sorted by (class id, y, x)."""
    return np.sort(np.array(list(clicks), POINT), order=("class_id", "y", "x"))


def _class_id(text: str, names: tuple[str, ...], where: str) -> int:
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise InputError(
        f"{where}: class {text!r} is unknown; "
        f"expected one of {', '.join(names)}, or an id 0..{len(names) - 1}"
    )


def _coordinate(text: str, axis: str, side_px: int, shrink: int, where: str) -> int:
    """A pixel index of the frame as read; fractions go to the nearest pixel centre, halves up."""
    try:
        index = math.floor((float(text) + 0.5) / shrink)
    except (ValueError, OverflowError):
        index = -1
    if not 0 <= index < side_px:
        raise InputError(
            f"{where}: {axis} = {text} lies outside the frame, expected 0..{side_px * shrink - 1} px; "
            "y counts down and x to the right, from 0 at the centre of the upper left pixel"
        )
    return index
