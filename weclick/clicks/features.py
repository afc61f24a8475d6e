"""What a frame looks like around a point: colours, how much they vary, and the place in the frame."""

from __future__ import annotations

import numpy as np
from PIL import Image

SHORT_PX = 256
"""Frames are looked at with their shorter side of at most so many px."""

SHARES = (0.0, 1 / 50, 1 / 18, 1 / 6)
"""Half sides of the squares around a point, in heights of the frame. A square has 3x3 px at least."""


def point_features(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Numbers that describe the surroundings of points. Nothing was learned for them, so they know no answer.

    Args:
        image: (H, W, 3) uint8 RGB.
        places: (N, 2) y and x of each point, in shares of height and width, 0..1.

    Returns:
        (N, 28) float64: of four squares around the point the mean and the standard deviation of each colour,
        0..1; y, x and their squares.
    """
    small = _small(image) / 255
    height, width = small.shape[:2]
    sums = np.pad(np.concatenate([small, small**2], 2).cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    row, column = (
        np.clip((places[:, axis] * side).astype(int), 0, side - 1) for axis, side in ((0, height), (1, width))
    )
    found = []
    for share in SHARES:
        reach = max(1, round(share * height))
        top, left = np.maximum(row - reach, 0), np.maximum(column - reach, 0)
        bottom, right = np.minimum(row + reach + 1, height), np.minimum(column + reach + 1, width)
        total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        mean, square = np.split(total / ((bottom - top) * (right - left))[:, None], 2, axis=1)
        found += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
    return np.concatenate([*found, places, places**2], 1)


def _small(image: np.ndarray) -> np.ndarray:
    factor = max(1, -(-min(image.shape[:2]) // SHORT_PX))
    return np.asarray(Image.fromarray(image).reduce(factor), np.float64)
