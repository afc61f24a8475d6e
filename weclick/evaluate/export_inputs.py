"""What an exported network takes, and on which inputs it is compared with the network itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from weclick.common.errors import InputError
from weclick.manifest.images import read_image
from weclick.manifest.video import VIDEO_SUFFIXES

SMALLEST_PX = 32
"""Smallest height and width of an image, where they are free."""

Inputs = tuple[np.ndarray, ...]
"""A batch: images, and stacks of flow for a network that looks at them."""


def describe_inputs(size: tuple[int, int] | None, length: int) -> dict[str, Any]:
    """The inputs as an exported file tells them: `input`, and `stack` for a network that looks at flow.

    Args:
        size: (H, W) px; None: free.
        length: flows L that the network looks at beside an image; 0: none.
    """
    height, width = size or ("height", "width")
    rgb = {
        "name": "rgb",
        "shape": ["batch", 3, height, width],
        "dtype": "float32",
        "range": [0, 255],
        "channels": "RGB",
        "smallest_px": SMALLEST_PX,
    }
    stack = {
        "name": "stack",
        "shape": ["batch", 2 * length, height, width],
        "dtype": "float32",
        "channels": "u and v of each flow, in the order and scale of the training",
    }
    return {"input": rgb, "stack": stack} if length else {"input": rgb}


def check_inputs(check: Path | None, size: tuple[int, int] | None, length: int) -> Iterator[Inputs]:
    """Batches to compare on, each images (B, 3, H, W) float32, and stacks (B, 2L, H, W) of noise for L > 0.

    Args:
        check: an image; None makes one of noise.
        size: (H, W) px that the image is brought to; None leaves it, and adds a crop of odd size.
        length: L as in `describe_inputs`.

    Raises:
        MissingFileError: there is no such image.
        InputError: it is too small, or a video.
    """
    noise = np.random.default_rng(1)
    for rgb in _images(check, size):
        flows = noise.uniform(-2.5, 2.5, (len(rgb), 2 * length, *rgb.shape[2:])).astype(np.float32)
        yield (rgb, flows) if length else (rgb,)


def _images(check: Path | None, size: tuple[int, int] | None) -> Iterator[np.ndarray]:
    """Batches (B, 3, H, W) float32: the image, it and its mirror, and a crop of odd size."""
    if check is None:
        height, width = size or (120, 161)
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    elif check.suffix.lower() in VIDEO_SUFFIXES:
        raise InputError(
            f"{check}: is a video, but outputs are compared on one image; give an image to --check"
        )
    else:
        image = read_image(check)
    if size is not None:
        image = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    elif min(image.shape[:2]) < SMALLEST_PX:
        raise InputError(
            f"{check}: is {image.shape[0]}x{image.shape[1]} px (HxW), but the network takes at least "
            f"{SMALLEST_PX} px; give a larger image to --check"
        )
    rgb = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
    yield rgb
    yield np.concatenate([rgb, rgb[..., ::-1]])
    if size is None:
        height, width = (max(SMALLEST_PX + 1, length * 2 // 3 | 1) for length in image.shape[:2])
        yield np.ascontiguousarray(rgb[..., :height, :width])
