"""Reads the images and labels that a manifest names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from weclick.common.disk import check_plain
from weclick.common.errors import InputError, MissingFileError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB.

    Raises:
        MissingFileError: there is no such file.
        InputError: the file is no image, is damaged, or has more than 8 bits a channel.
    """
    return _open(path, _rgb)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) in px of an image file, from its header alone.

    Raises:
        InputError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:  # as in _open
        raise _no_image(path, error) from error


def read_ids(path: Path) -> np.ndarray:
    """A label file's stored values: (H, W) indices of a palette or grey file, or (H, W, 3) colours."""
    return _open(path, _stored)


def shrunk_size(size: tuple[int, int], shrink: int) -> tuple[int, int]:
    """(H, W) px of a frame read at 1/shrink of its size, rounded half up."""
    height, width = ((2 * side + shrink) // (2 * shrink) for side in size)
    return height, width


def shrink_image(image: np.ndarray, shrink: int) -> np.ndarray:
    """A frame (H, W, 3) uint8 at 1/shrink of its size, by means over areas."""
    return shrink_array(image, shrink, Image.Resampling.BOX)


def shrink_array(array: np.ndarray, shrink: int, how: Image.Resampling) -> np.ndarray:
    """An image or map at 1/shrink of its size: colours by area means, ids by their nearest pixel."""
    if shrink == 1:
        return array
    height, width = shrunk_size(array.shape[:2], shrink)
    return np.asarray(Image.fromarray(array).resize((width, height), how))


def _open(path: Path, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    check_plain(path)
    try:
        with Image.open(path) as image:
            image.load()
            return convert(image)
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: cannot be read as an image (there is no such file); restore the file or drop the frame"
        ) from error
    except Exception as error:  # a damaged file may fail anywhere in Pillow, with any error
        raise _no_image(path, error) from error


def _no_image(path: Path, error: Exception) -> InputError:
    size = f"{Path(path).stat().st_size} bytes" if Path(path).is_file() else "not a file"
    return InputError(
        f"{path}: cannot be read as an image ({size}: {error}); restore the file or drop the frame"
    )


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(f"mode {image.mode}, more than 8 bits a channel; expected 8-bit grey or RGB")
    return np.asarray(image.convert("RGB"))


def _stored(image: Image.Image) -> np.ndarray:
    """Grey and palette values as they are, anything else as colours."""
    plain = image.mode in ("P", "L", "1") or image.mode.startswith("I")
    return np.asarray(image if plain else image.convert("RGB"))
