"""Entries of the kind "cams" as trainings read them: checked, since nobody looks at each one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weclick.common.errors import InputError
from weclick.geometry import grid_size
from weclick.store.entries import Entry
from weclick.store.meta import damaged


def check_maps(entry: Entry, size: tuple[int, int], classes: Sequence[str]) -> None:
    """Check that an entry's maps are of these classes, on a grid that covers its frames.

    Args:
        entry: of the kind "cams".
        size: (H, W) of its clip's frames, px.
        classes: names of the data set's classes.

    Raises:
        InputError: it is of other classes.
        DamagedEntryError: its attributes and its array `maps` do not fit each other.
    """
    told = entry.attributes
    if tuple(told.get("classes", ())) != tuple(classes):
        found = ", ".join(map(str, told.get("classes", ())))
        raise InputError(
            f"{entry.path}: holds maps of the classes {found}, but the data set has {', '.join(classes)}; "
            "run the cams stage again"
        )
    ids: Any = told.get("class_ids")
    stride_px: Any = told.get("stride_px")
    known = isinstance(ids, list) and all(type(k) is int and 0 <= k < len(classes) for k in ids)
    if not known or len(set(ids)) != len(ids) or type(stride_px) is not int or stride_px < 1:
        raise damaged(entry.path, f"class_ids is {ids!r} and stride_px {stride_px!r}")
    array = entry.array("maps")
    shape = (len(told["frames"]), len(ids), *grid_size(size, stride_px))
    if array.shape != shape or array.dtype != "uint8":
        raise damaged(
            entry.path, f"maps is {array.dtype} of shape {array.shape}, expected uint8 of shape {shape}"
        )
