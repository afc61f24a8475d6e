"""Masks that tell objects from background alone: their class is the name of a folder that they lie in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from weclick.common.errors import InputError
from weclick.manifest.clips import IGNORE

OBJECT_LEVEL = 128
"""Grey levels from here on are the object. JPEG leaves noise around 0 and 255."""

MOST_OBJECTS = 99
"""Largest number of an object in a palette file. DAVIS has 10 at most; a palette of greys goes far beyond."""

MOST_BETWEEN, BETWEEN = 0.1, range(33, 224)
"""A mask of which a larger share is neither black nor white is none, but a frame or a map of something."""


def class_of_mask(label: str, masks: Mapping[str, int]) -> int:
    """The class of a mask's object: that of the first folder on its path that `masks` lists.

    Args:
        label: path of the file, from the root of the data set.
        masks: name of a folder -> class id.

    Raises:
        InputError: none of the folders is listed.
    """
    for folder in PurePosixPath(label).parts[:-1]:
        if folder in masks:
            return masks[folder]
    raise InputError(
        f"{label}: lies in none of the folders {', '.join(sorted(masks)[:20])}, so the class of its object "
        "is not known; move it, or correct the list of classes"
    )


def classes_of_mask(mask: np.ndarray, class_id: int) -> np.ndarray:
    """(H, W) uint8 class ids of a mask as `object_mask` gives it: 0, `class_id` or IGNORE."""
    return np.where(mask == 1, np.uint8(class_id), mask)


def object_mask(image: Image.Image) -> np.ndarray:
    """The objects in an opened mask: (H, W) uint8, 0 background, 1 object, IGNORE not known.

    A palette file numbers objects 1, 2, ... (DAVIS 2017), and 255 is not known. All others are black and
    white, where a JPEG may be noisy (Jain and Grauman's masks of YouTube-Objects, DAVIS 2016).

    Raises:
        ValueError: it has other values, or is no mask.
    """
    if image.mode == "P":
        return _of_numbers(np.asarray(image))
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        raise ValueError(f"mode {image.mode}, expected a mask of 8 bits a channel")
    if _is_coloured(np.asarray(image.convert("RGB"), np.int16)):
        raise ValueError("it holds colours, expected black and white, or a palette of numbers of objects")
    grey = np.asarray(image.convert("L"))
    counts = np.bincount(grey.ravel(), minlength=256)
    between, largest = counts[BETWEEN.start : BETWEEN.stop].sum() / max(grey.size, 1), int(grey.max())
    if between > MOST_BETWEEN:
        raise ValueError(f"{100 * between:.0f} % of its pixels are neither black nor white: is it a mask?")
    if image.format not in ("JPEG", "MPO") and 0 < largest < OBJECT_LEVEL:
        raise ValueError(f"its largest value is {largest}, expected 0 (background) and 255 (object)")
    return (grey >= OBJECT_LEVEL).astype(np.uint8)


def _of_numbers(numbers: np.ndarray) -> np.ndarray:
    strange = np.setdiff1d(numbers, [*range(MOST_OBJECTS + 1), IGNORE])
    if strange.size:
        raise ValueError(
            f"it holds the values {strange[:8].tolist()}, expected 0 (background), 1..{MOST_OBJECTS} "
            f"(numbers of objects) or {IGNORE} (ignored)"
        )
    return np.where(numbers == IGNORE, np.uint8(IGNORE), (numbers > 0).astype(np.uint8))


def _is_coloured(rgb: np.ndarray) -> bool:
    """Whether more than a hundredth of the pixels have a colour, which JPEG does not make of grey."""
    return bool((rgb.max(2) - rgb.min(2) > 64).mean() > 0.01)
