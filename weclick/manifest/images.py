"""Reads the images and labels that a manifest names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from weclick.common.content import read_content
from weclick.common.errors import InputError, MissingFileError
from weclick.manifest.object_masks import object_mask
from weclick.manifest.upright import open_image, orientation_of, upright, upright_size

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def read_image(path: Path, sha256: str | None = None, *, orientation: int | None = None) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB, turned as it says (EXIF). Of 16 bits the upper 8 are taken.

    Args:
        path: of the file.
        sha256: hex digest that its content must have; None or empty takes any content.

    Raises:
        MissingFileError: there is no such file.
        ChangedFileError: its content has another digest.
        InputError: its orientation is not the manifest's.
        InputError: the file is no image, is damaged, is larger than LARGEST_PX, holds several pictures, or
            has 32 bits a channel.
    """
    return _open(path, sha256, _rgb, orientation)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) in px of an image file as `read_image` turns it, from its header alone.

    Raises:
        InputError: the file is no image, or `read_image` would refuse its size.
    """
    try:
        with open_image(path) as image:
            return upright_size(image.height, image.width, orientation_of(image))
    except Exception as error:  # as in _open
        raise _no_image(path, error) from error


def read_ids(path: Path, sha256: str | None = None) -> np.ndarray:
    """A label file's stored values: (H, W) indices of a palette or grey file, or (H, W, 3) colours.

    A label that itself says how to turn it (EXIF) is turned.

    Args, Raises:
        As in `read_image`.
    """
    return _open(path, sha256, _stored)


def read_object_mask(path: Path, sha256: str | None = None) -> np.ndarray:
    """A mask of objects, also a JPEG: (H, W) uint8, 0 background, 1 object, 255 ignored.

    Args, Raises:
        As in `read_image`; and InputError if the file is no mask, see `object_mask`.
    """
    return _open(path, sha256, object_mask)


def image_orientation(path: Path) -> int:
    """How the pixels of an image file are to be turned: 1..8 as in EXIF, from its header alone.

    A file that cannot be read is 1; `read_image` says what is wrong with it.
    """
    try:
        with open_image(path) as image:
            return orientation_of(image)
    except Exception:  # as in _open
        return 1


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


def check_orientation(path: Path, found: int, told: int | None) -> None:
    """Raises InputError if a file is turned otherwise than the manifest tells: its key would be wrong."""
    if told is not None and found != told:
        raise InputError(
            f"{path}: is to be turned (orientation {found}, as in EXIF), but the manifest tells {told}; it "
            "was made by an older version, or the file changed: run `weclick manifest` again"
        )


def _open(
    path: Path, sha256: str | None, convert: Callable[[Image.Image], np.ndarray], told: int | None = None
) -> np.ndarray:
    try:
        with open_image(BytesIO(read_content(path, sha256))) as image:
            orientation = orientation_of(image)
            check_orientation(path, orientation, told)
            image.load()
            return upright(convert(image), orientation)
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: cannot be read as an image (there is no such file); restore the file or drop the frame"
        ) from error
    except InputError:
        raise
    except Exception as error:  # a damaged file may fail anywhere in Pillow, with any error
        raise _no_image(path, error) from error


def _no_image(path: Path, error: Exception) -> InputError:
    size = f"{Path(path).stat().st_size} bytes" if Path(path).is_file() else "not a file"
    why = "of no known format" if isinstance(error, UnidentifiedImageError) else error
    return InputError(
        f"{path}: cannot be read as an image ({size}: {why}); restore the file or drop the frame"
    )


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = np.asarray(image)
        if 0 < grey.max() < 4096:
            _tell_dark()
        grey = (grey >> 8).astype(np.uint8)  # as Pillow takes 16-bit RGB
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode}, 32 bits a channel; expected 8 or 16 bits, grey or RGB")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


@cache
def _tell_dark() -> None:
    """People store 8, 10 or 12 bits in files of 16. Nothing in the file tells; this is a guess, said once."""
    print(
        "weclick: warning: a 16-bit grey image has no value above 4095 of 65535, so it becomes nearly black; "
        "if its camera has 8, 10 or 12 bits, multiply the values by 256, 64 or 16 first",
        file=sys.stderr,
    )


def _stored(image: Image.Image) -> np.ndarray:
    """Grey and palette values as they are, anything else as colours. Alpha must hide nothing."""
    if image.format in ("JPEG", "MPO"):
        raise ValueError("it is a JPEG whatever its ending, which changes values: export it as PNG")
    if image.mode in ("RGBA", "LA", "PA"):
        alpha = np.asarray(image.getchannel("A"))
        if (alpha < 255).any():
            raise ValueError(
                f"{np.count_nonzero(alpha < 255)} of its pixels are transparent, so their class is not "
                "known: save it without transparency"
            )
        image = image.convert("RGB") if image.mode == "RGBA" else image.getchannel(0)
    if image.mode == "F":
        raise ValueError("it holds fractions, expected whole numbers")
    plain = image.mode in ("P", "L", "1") or image.mode.startswith("I")
    return np.asarray(image if plain else image.convert("RGB"))
