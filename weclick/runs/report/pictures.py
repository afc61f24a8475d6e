"""Pictures of frames, clicks and class maps, carried inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image
from skimage.draw import disk
from skimage.transform import downscale_local_mean

from weclick.common.errors import InputError
from weclick.evaluate.overlay import overlay_classes

WIDTH_PX = 560
"""Width of a picture in the page: sharp in two columns, and a dozen stay below a megabyte."""

OPACITY = 0.62
"""Opacity of class colours over the frame."""

HEAT = 0.85
"""Opacity of a class colour where its map is 1."""

HATCH_PX, LINE_PX = 12, 2
"""Distance and width of the lines over pixels without a label."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)

FINE = 4
"""Marks are drawn this many times larger and averaged, so that their edges are smooth."""


@dataclass(frozen=True)
class Picture:
    """An image in the page: a data URI, and what it shows in words."""

    src: str
    alt: str
    width_px: int
    height_px: int


def picture(pixels: np.ndarray, alt: str) -> Picture:
    """Pack an image: (H, W, 3) uint8 RGB as JPEG, (H, W, 4) RGBA as PNG."""
    buffer = io.BytesIO()
    kind = "png" if pixels.shape[2] == 4 else "jpeg"
    quality = {} if kind == "png" else {"quality": 84, "optimize": True}
    Image.fromarray(pixels).save(buffer, kind, **quality)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/{kind};base64,{data}", alt, pixels.shape[1], pixels.shape[0])


def fit(image: np.ndarray, *, nearest: bool = False, width_px: int = WIDTH_PX) -> np.ndarray:
    """Scale to the page's width, also upwards, so that marks on small frames come out sharp.

    Args:
        image: (H, W, 3) uint8 RGB, or (H, W) uint8.
        nearest: take the nearest pixel instead of a mean; class ids need that.
        width_px: of the result.
    """
    height, width = image.shape[:2]
    size = width_px, max(1, round(height * width_px / width))
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize(size, how))


def ramp(alt: str) -> Picture:
    """The colours of viridis from low to high, as a bar. They differ in lightness, so all can tell them."""
    colors = matplotlib.colormaps["viridis"](np.tile(np.linspace(0, 1, 256), (12, 1)))
    return picture(np.rint(255 * colors).astype(np.uint8), alt)


def overlay(image: np.ndarray, class_ids: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Class colours over a grey copy of the frame, edged by lines; pixels without a class stay plain.

    Args:
        image: (H, W, 3) uint8 RGB.
        class_ids: (H, W) uint8; ids beyond the palette are no class.
        palette: K colours (R, G, B), 0..255.

    Returns:
        (h, w, 3) uint8 RGB of the page's width.

    Raises:
        InputError: image and class map differ in size.
    """
    if image.shape[:2] != class_ids.shape:
        raise InputError(
            f"class map is of shape {class_ids.shape}, its frame of {image.shape[:2]}; "
            "one of them is from another run: run the stage evaluate again"
        )
    return overlay_classes(
        _grey(fit(image)), fit(class_ids, nearest=True), np.array(palette, np.uint8), OPACITY
    )


def hatched(image: np.ndarray, class_ids: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """As `overlay`, with white lines over the pixels without a class, so that they are no dark class."""
    drawn = overlay(image, class_ids, palette)
    rows, columns = np.indices(drawn.shape[:2])
    line = (fit(class_ids, nearest=True) >= len(palette)) & ((rows + columns) % HATCH_PX < LINE_PX)
    drawn[line] = (0.35 * drawn[line] + 0.65 * 255).round()
    return drawn


def heat(image: np.ndarray, maps: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Maps of classes over a grey copy of the frame: the higher a map, the stronger is its class's colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        maps: (C, H, W) floating point in 0..1. A pixel has the colour of its highest map.
        palette: C colours (R, G, B), 0..255.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if not len(maps):
        return _grey(image)
    colors = np.array(palette, np.uint8)[maps.argmax(0)]
    opacity = HEAT * maps.max(0)[..., None]
    return ((1 - opacity) * _grey(image) + opacity * colors).round().astype(np.uint8)


def tinted(image: np.ndarray, masks: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Class colours over a grey copy of the frame. A pixel of several classes has the mean of their colours.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: (K, H, W) bool; a pixel of no class stays grey.
        palette: K colours (R, G, B), 0..255.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    number = masks.sum(0)[..., None]
    colors = np.einsum("khw,kc->hwc", masks, np.array(palette, float)) / np.maximum(number, 1)
    opacity = OPACITY * (number > 0)
    return ((1 - opacity) * _grey(image) + opacity * colors).round().astype(np.uint8)


def _grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def draw_clicks(image: np.ndarray, points: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Mark clicks: a white dot in a ring of the class colour, edged in white and black to stand out anywhere.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: clicks with the fields y, x (px of `image`) and class_id.
        palette: colour of each class.

    Returns:
        (h, w, 3) uint8 RGB of the page's width.
    """
    fine = fit(image).repeat(FINE, 0).repeat(FINE, 1)
    scale = fine.shape[1] / image.shape[1]
    for point in points:
        centre = [(int(point[axis]) + 0.5) * scale - 0.5 for axis in "yx"]
        color = palette[int(point["class_id"])]
        for radius_px, ring in ((9.7, BLACK), (8.7, WHITE), (7.3, color), (2.9, WHITE)):
            fine[disk(centre, FINE * radius_px, shape=fine.shape[:2])] = ring
    return downscale_local_mean(fine, (FINE, FINE, 1)).round().astype(np.uint8)
