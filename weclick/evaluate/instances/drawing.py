"""Instances drawn over a frame: a tint and an outline each, its class and its score."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion

from weclick.evaluate.instances.found import Instances

COLORS = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    ],
    np.uint8,
)
"""Seven colours that people tell apart whose eyes lack one kind of cones (Okabe and Ito 2008). In RGB."""

DARK = 24
"""Grey level of the line around an outline, and of the plate of a text, so that both show on any frame."""

TEXT_WHITE = 0.4
"""Share of white in a text; the rest is the object's colour."""

Place = tuple[int, int, int, int]
"""Left, top, right and bottom px."""

_LETTERS = 32  # a text is as high as this part of a frame's width, so that it can be read on a page
_LEAST_FONT_PX = 10
_LINE_PX = 400  # of a frame's height for each px of an outline's width


def overlay_instances(
    image: np.ndarray,
    found: Instances,
    names: Sequence[str],
    *,
    opacity: float = 0.45,
    numbers: Sequence[int] | None = None,
    scored: bool = True,
) -> np.ndarray:
    """Instances over a frame, the surest on top. Colours tell objects apart, and texts tell their classes.

    Where texts would lie over each other, that of the surer object stays.

    Args:
        image: (H, W, 3) uint8 RGB.
        found: its instances.
        names: of the classes.
        opacity: of the tints, 0..1. At 0 outlines and texts are all that is drawn.
        numbers: (N,) of the objects, which choose their colours and stand beside the classes; None: by their
            order, and no number is told.
        scored: whether scores are told; the truth has none.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    order = range(len(found.masks)) if numbers is None else numbers
    colors = [COLORS[number % len(COLORS)] for number in order]
    drawn = image.copy()
    width = max(1, round(image.shape[0] / _LINE_PX))
    rising = np.argsort(-found.scores, kind="stable")[::-1].tolist()
    for i in rising:
        _paint(drawn, found.masks[i], colors[i], opacity, width)
    canvas, taken = Image.fromarray(drawn), list[Place]()
    for i in reversed(rising):  # the surest has its text for sure
        number = "" if numbers is None else f" {numbers[i]}"
        score = f" {found.scores[i]:.2f}" if scored else ""
        text = f"{names[found.classes[i]]}{number}{score}"
        _write(canvas, found.masks[i], text, colors[i], taken)
    return np.array(canvas)


def _paint(drawn: np.ndarray, mask: np.ndarray, color: np.ndarray, opacity: float, width: int) -> None:
    """A tint, an outline in the full colour along its inside, and a dark line around; it changes `drawn`."""
    top, left, bottom, right = _box(mask)
    reach = np.s_[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1]
    part, inside = drawn[reach], mask[reach]
    part[inside] = ((1 - opacity) * part[inside] + opacity * color).round()
    # what the frame's edge cuts has no outline there
    part[inside & ~binary_erosion(inside, iterations=width, border_value=1)] = color
    part[binary_dilation(inside) & ~inside] = DARK


def _write(canvas: Image.Image, mask: np.ndarray, text: str, color: np.ndarray, taken: list[Place]) -> None:
    """A text on a dark plate above an object, at its upper edge, or below it: where no other text is.

    It is left out where none of these places is free. `taken` gets its place.
    """
    top, left, bottom, _ = _box(mask)
    pen, font = ImageDraw.Draw(canvas), _font(max(_LEAST_FONT_PX, canvas.width // _LETTERS))
    x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
    width, height = round(x1 - x0) + 4, round(y1 - y0) + 4
    x = max(0, min(left, canvas.width - width))
    for y in (top - height, top, bottom):
        place = x, y, x + width, y + height
        if 0 <= y <= canvas.height - height and not any(_meet(place, other) for other in taken):
            taken.append(place)
            red, green, blue = (round(TEXT_WHITE * 255 + (1 - TEXT_WHITE) * int(c)) for c in color)
            pen.rectangle((x, y, x + width - 1, y + height - 1), fill=(DARK, DARK, DARK))
            pen.text((x + 2 - x0, y + 2 - y0), text, fill=(red, green, blue), font=font)
            return


def _meet(one: Place, other: Place) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of a mask, the latter two behind its last pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
