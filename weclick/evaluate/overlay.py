"""Classes drawn over a frame: a tint, and a line where one class meets another."""

from __future__ import annotations

import numpy as np
from skimage.segmentation import find_boundaries

LINE_WHITE = 0.6
"""Share of white in a line; the rest is the class colour, so that a line tells whose it is."""


def overlay_classes(
    image: np.ndarray, class_ids: np.ndarray, palette: np.ndarray, opacity: float
) -> np.ndarray:
    """The classes' colours over a frame, each class edged by a line in a lighter tone of its own.

    A line is one pixel wide on either side of an edge. At opacity 0 the lines are all that is drawn.

    Args:
        image: (H, W, 3) uint8 RGB.
        class_ids: (H, W) uint8; ids beyond the palette are no class, and their pixels stay as they are.
        palette: (K, 3) uint8 RGB.
        opacity: of the colours, 0..1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    colors = palette.take(class_ids, axis=0, mode="clip")
    drawn = ((1 - opacity) * image + opacity * colors).round().astype(np.uint8)
    line = find_boundaries(class_ids, mode="thick")
    drawn[line] = (LINE_WHITE * 255 + (1 - LINE_WHITE) * colors[line]).round()
    no_class = class_ids >= len(palette)
    drawn[no_class] = image[no_class]
    return drawn
