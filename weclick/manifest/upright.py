"""Image files are opened within bounds, and turned as they say: no other room decodes one.

Cameras store pixels as the sensor sees them, and an orientation from 1 to 8 (EXIF 2.3, tag 0x0112) that says
how to turn them. Labelling tools show the turned picture, so labels are drawn on that. Videos say the same by
a display matrix. The eight orientations are the eight symmetries of a rectangle, so one number serves both.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from weclick.common.disk import check_plain

LARGEST_PX = 2**26
"""Largest image or video frame, in px: 8192x8192, twice an 8K frame. Nothing larger is allocated."""

TOO_LARGE = f"at most {LARGEST_PX / 1e6:.0f} million px are read, and 8K has 33"

_USUAL = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM")
_OTHERS = ("TIFF", "WEBP", "JPEG2000", "AVIF")
"""Formats that are read, whatever the suffix. Others of Pillow start programs (EPS) or are no pictures.
Pillow loads the usual ones at once; loading the rest takes 0.1 s, so they are tried only if none fits."""

_TAIL_BYTES = 2**16
_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""How a PNG's chunks begin that may tell an orientation; they may also lie behind the pixels."""

_REDUCED = 254
"""TIFF tag NewSubfileType; its lowest bit marks a thumbnail."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # LARGEST_PX is stricter


@contextmanager
def open_image(file: Path | IO[bytes]) -> Iterator[Image.Image]:
    """An image file whose header was read; no pixel is decoded.

    Raises:
        ValueError: it is larger than LARGEST_PX, or holds several pictures.
        Exception: whatever Pillow raises for a damaged file.
    """
    if isinstance(file, Path):
        check_plain(file)
    try:
        image = _identified(file)
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"its header says more than 170 million px; {TOO_LARGE}: make it smaller, or cut it"
        ) from error
    with image:
        check_pixels(image.height, image.width)
        if pages := _pages(image):
            raise ValueError(f"it holds {pages}, expected one picture a file: save each as a file of its own")
        yield image


def check_pixels(height: int, width: int) -> None:
    """Raises ValueError if a picture of this size is not read."""
    if height * width > LARGEST_PX:
        raise ValueError(
            f"its header says {height}x{width} px (HxW); {TOO_LARGE}: make it smaller, or cut it"
        )


def orientation_of(image: Image.Image) -> int:
    """How an opened image is to be turned, 1..8 as in EXIF; 1 is upright, and so is what tells nothing else.

    Pillow turns TIFF files by itself, so these are always 1.
    """
    if image.format == "TIFF":
        return 1
    if image.format == "PNG" and _tells_later(image):
        image.load()
    try:
        found = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF fails anywhere in Pillow; viewers then show the picture as it is stored
        return 1
    return found if type(found) is int and 1 <= found <= 8 else 1


def upright_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """(H, W) of a stored picture once it is turned."""
    return (width, height) if orientation > 4 else (height, width)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """A stored picture (H, W, ...) turned as its orientation says.

    EXIF's words: 2 mirrored, 3 rotated by 180 degrees, 4 flipped, 5 transposed, 6 to be rotated clockwise
    by 90 degrees, 7 transposed and rotated by 180 degrees, 8 to be rotated anticlockwise by 90 degrees.
    """
    if orientation > 4:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _identified(file: Path | IO[bytes]) -> Image.Image:
    Image.preinit()  # or `Image.open` loads all modules to find the usual ones
    try:
        return Image.open(file, formats=_USUAL)
    except UnidentifiedImageError:
        Image.init()
        return Image.open(file, formats=[name for name in _OTHERS if name in Image.OPEN])


def _pages(image: Image.Image) -> str:
    """What a file holds more than one picture of, in words; cameras' previews and thumbnails do not count."""
    if image.format == "TIFF":
        return "several pages of one size" if _second_page(image) else ""
    animated = image.format in ("GIF", "WEBP", "PNG") and getattr(image, "is_animated", False)
    return "an animation" if animated else ""


def _second_page(image: Image.Image) -> bool:
    size = image.size
    try:
        image.seek(1)
    except EOFError:
        return False
    reduced = int(image.tag_v2.get(_REDUCED, 0)) & 1  # type: ignore[attr-defined]
    same = image.size == size and not reduced
    image.seek(0)
    return same


def _tells_later(image: Image.Image) -> bool:
    """Whether a PNG whose header tells no orientation may tell one behind its pixels."""
    file = getattr(image, "fp", None)
    if file is None or "exif" in image.info:
        return False
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _TAIL_BYTES))
    tail = file.read()
    file.seek(here)
    return any(mark in tail for mark in _MARKS)
