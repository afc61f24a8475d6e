"""Labels as colours: which colour is which class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from weclick.common.errors import InputError
from weclick.manifest.clips import IGNORE, Classes

_BLACK = 0


def classes_of_colors(colors: np.ndarray, classes: Classes, path: Path) -> np.ndarray:
    """Class ids of a label in the colours of the list of classes.

    Args:
        colors: (H, W, 3) uint8 RGB.
        classes: their palette tells the colours.
        path: of the file, for errors.

    Returns:
        (H, W) uint8.

    Raises:
        InputError: the label has a colour that no class has, or that two have.
    """
    palette = [int(_packed(np.array(color))) for color in classes.palette]
    packed = _packed(colors)
    ids, known = _look_up(packed, dict(zip(palette, range(len(palette)), strict=True)))
    if not known.all():
        raise _unknown(colors, packed, known, classes, path)
    present = np.bincount(ids.ravel(), minlength=len(palette))
    for class_id, color in enumerate(palette):
        first = palette.index(color)
        if first != class_id and present[class_id]:
            raise InputError(
                f"{path}: holds the colour {classes.palette[class_id]}, which is that of "
                f"{classes.names[first]!r} and of {classes.names[class_id]!r}; give every class a colour of "
                "its own, or save labels as class ids"
            )
    return ids


def classes_of_listed_colors(colors: np.ndarray, listed: Mapping[str, int], path: Path) -> np.ndarray:
    """Class ids of a label of a data set that lists its colours; other colours are ignored.

    Args:
        colors: (H, W, 3) uint8 RGB.
        listed: "R,G,B" -> class id.
        path: of the file, for errors.

    Returns:
        (H, W) uint8, IGNORE where the colour is not listed.

    Raises:
        InputError: no pixel has a listed colour, and not all are black: this is no such label.
    """
    table = {int(_packed(np.array(color.split(","), int))): class_id for color, class_id in listed.items()}
    packed = _packed(colors)
    ids, known = _look_up(packed, table)
    if not known.any() and (packed != _BLACK).any():
        raise InputError(
            f"{path}: holds none of the data set's colours; are red and blue exchanged, or was the label "
            "resized or compressed? Restore the file"
        )
    return np.where(known, ids, np.uint8(IGNORE))


def _packed(colors: np.ndarray) -> np.ndarray:
    return colors.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)


def _look_up(packed: np.ndarray, table: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The entry of each colour, and whether the table has it."""
    keys = np.array(sorted(table), np.uint32)
    values = np.array([table[key] for key in sorted(table)], np.uint8)
    where = np.minimum(np.searchsorted(keys, packed), len(keys) - 1)
    return values[where], keys[where] == packed


def _unknown(
    colors: np.ndarray, packed: np.ndarray, known: np.ndarray, classes: Classes, path: Path
) -> InputError:
    others, counts = np.unique(packed[~known], return_counts=True)
    y, x = (int(at[0]) for at in np.nonzero((packed == others[counts.argmax()]) & ~known))
    color = tuple(colors[y, x].tolist())
    grey = bool((colors == colors[..., :1]).all()) and int(colors[~known].max()) < len(classes.names)
    if grey:
        why = "its three channels are equal and look like class ids: save it in one channel"
    elif len(others) > len(classes.names) + 8:
        why = "edges that were smoothed, or JPEG, make such colours: export it without either"
    else:
        why = "name the colour in the list of classes, or save labels as class ids, 255 for what is ignored"
    return InputError(
        f"{path}: holds {len(others)} colours that no class has: {color} on {counts.max()} px, first at "
        f"(y {y}, x {x}), and others on {counts.sum() - counts.max()} px; {why}"
    )
