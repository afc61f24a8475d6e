"""Paint for the toy street: noise, colours, and a canvas whose units are metres.

A texture is a (h, w, 4) uint8 array of premultiplied RGBA: colour times alpha. So a mean of texels is right
at the rim of a silhouette, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

Colour = tuple[float, float, float]
Point = tuple[float, float]
Rng = np.random.Generator

_SHIFT = 4  # sub-pixel bits of OpenCV's drawing functions


def noise(rng: Rng, height: int, width: int, *, cell_px: float, octaves: int = 1) -> np.ndarray:
    """Smooth value noise.

    Args:
        rng: source of randomness.
        height: rows.
        width: columns.
        cell_px: size of the coarsest bumps, in texels; each further octave halves size and strength.
        octaves: how many sizes are summed.

    Returns:
        (height, width) float32 of about unit standard deviation.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cell = max(cell_px / 2**octave, 1.0)
        grid = rng.standard_normal((int(height / cell) + 2, int(width / cell) + 2), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR) * 0.6**octave
    return total


def vary(rng: Rng, colour: Sequence[float], amount: float = 10.0) -> Colour:
    """A neighbour of a colour: brightness and hue moved by about `amount` grey levels."""
    moved = np.asarray(colour) + rng.normal(0, amount) + rng.normal(0, amount / 3, 3)
    red, green, blue = np.clip(moved, 4, 250).tolist()
    return red, green, blue


def shade(colour: Sequence[float], factor: float) -> Colour:
    """A colour times a brightness factor, within 0..255."""
    red, green, blue = np.clip(np.asarray(colour) * factor, 0, 255).tolist()
    return red, green, blue


def opaque(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) colours of any dtype, clipped into an opaque (h, w, 4) texture."""
    alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    return np.concatenate([np.clip(rgb, 0, 255).astype(np.uint8), alpha], axis=2)


def lit(texture: np.ndarray, factor: np.ndarray | float) -> np.ndarray:
    """A texture whose colours are multiplied by a factor, (h, w) or scalar; its silhouette stays."""
    shape = texture.shape[:2]
    gain = np.broadcast_to(np.asarray(factor, np.float32), shape)
    brighter = cv2.multiply(
        texture, cv2.merge([gain, gain, gain, np.ones(shape, np.float32)]), dtype=cv2.CV_8U
    )
    return cv2.min(brighter, cv2.merge([texture[..., 3]] * 4))


class Canvas:
    """A transparent sheet to draw on in metres: x to the right, y up, origin at the lower left corner.

    Args:
        width_m: width of the sheet.
        height_m: height of the sheet.
        px_per_m: resolution.
    """

    def __init__(self, width_m: float, height_m: float, px_per_m: float) -> None:
        self.scale = px_per_m
        self.texture = np.zeros(
            (max(round(height_m * px_per_m), 2), max(round(width_m * px_per_m), 2), 4), np.uint8
        )

    def fill(self, colour: Colour) -> None:
        """Paint the whole sheet."""
        self.texture[:] = (*(round(c) for c in colour), 255)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon given by its corners."""
        cv2.fillPoly(self.texture, [self._fixed(points)], (*colour, 255), cv2.LINE_AA, _SHIFT)

    def box(self, left: float, bottom: float, right: float, top: float, colour: Colour) -> None:
        """Fill an upright rectangle, its edges rounded to texels."""
        rows, scale = self.texture.shape[0], self.scale
        x0, x1 = max(round(left * scale), 0), max(round(right * scale), 0)
        y0, y1 = max(rows - round(top * scale), 0), max(rows - round(bottom * scale), 0)
        self.texture[y0:y1, x0:x1] = (*map(round, colour), 255)

    def disc(self, centre: Point, radius: float, colour: Colour, *, aspect: float = 1.0) -> None:
        """Fill an ellipse `radius` wide and `radius * aspect` high, both to one side of the centre."""
        axes = tuple(round(r * self.scale * 2**_SHIFT) for r in (radius, radius * aspect))
        middle = tuple(int(v) for v in self._fixed([centre])[0, 0])
        cv2.ellipse(self.texture, middle, axes, 0, 0, 360, (*colour, 255), -1, cv2.LINE_AA, _SHIFT)

    def limb(self, start: Point, end: Point, width: float, colour: Colour) -> None:
        """Fill a thick line with round ends."""
        (x0, y0), (x1, y1) = start, end
        half = width / 2 / max(math.hypot(x1 - x0, y1 - y0), 1e-6)
        dx, dy = (y0 - y1) * half, (x1 - x0) * half
        self.polygon([(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)], colour)
        for joint in (start, end):
            self.disc(joint, width / 2, colour)

    def _fixed(self, points: Sequence[Point]) -> np.ndarray:
        """Metres to OpenCV's fixed-point texel positions, as an (N, 1, 2) int32 contour."""
        rows, scale, unit = self.texture.shape[0], self.scale, 2**_SHIFT
        texels = [
            (round((x * scale - 0.5) * unit), round((rows - y * scale - 0.5) * unit)) for x, y in points
        ]
        return np.array(texels, np.int32)[:, None]
