"""The camera's part of a flow: the homography that most of a frame follows."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from weclick.geometry.crop import Crop, crop_sampling_positions

WITHIN_CELLS = 0.25
"""How far a cell may lie from the homography to count for it, in cells. At cells of 4 px that is 1 px."""

MOST_CELLS = 4096
"""Cells that are looked at, evenly spread. More find the same homography, and cost more time."""

LEAST_SHARE = 0.1
"""Of the cells that a homography has to explain. Any four cells of noise have one."""

LEAST_CELLS = 4
"""A homography has eight unknowns, and a cell tells two."""


def dominant_homography(flow: np.ndarray, stride_px: int = 1) -> np.ndarray:
    """The homography from a frame to the next that most of its cells follow, found by RANSAC.

    Background moves so as long as the camera only turns and zooms, or the scene is flat or far. It draws no
    random number of anybody else's: OpenCV begins each search with the same state.

    Args:
        flow: (2, h, w) px of its own grid, from the frame to the next one.
        stride_px: px of the image per cell of that grid.

    Returns:
        (3, 3) float64: takes positions (x, y, 1) of the frame to those of the next, in px of the image. The
        identity where no homography explains a tenth of the cells.
    """
    height, width = flow.shape[1:]
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    step = max(1, -(-height * width // MOST_CELLS))
    step += step > 1 and width % step == 0  # so that the cells taken do not stand in columns
    at = np.stack([x, y], 1)[::step].astype(np.float64)
    moved = flow.reshape(2, -1).T[::step].astype(np.float64)
    if len(at) < LEAST_CELLS:
        return np.eye(3)
    cells, followed = cv2.findHomography(
        at, at + moved, cv2.RANSAC, WITHIN_CELLS, maxIters=500, confidence=0.999
    )
    if cells is None or not np.isfinite(cells).all() or np.mean(followed) < LEAST_SHARE:
        return np.eye(3)
    middle = (stride_px - 1) / 2
    to_px = np.array([[stride_px, 0, middle], [0, stride_px, middle], [0, 0, 1]])
    return np.asarray(to_px @ cells @ np.linalg.inv(to_px))


def camera_flow(homographies: np.ndarray, crop: Crop) -> Tensor:
    """How far the camera moves each pixel of a crop.

    Args:
        homographies: (N, 3, 3), see `dominant_homography`.
        crop: of the frame.

    Returns:
        (N, 2, H, W) float32 (dx, dy), px of the crop.

    Example:
        A camera that pans by three pixels, and a crop twice as large and mirrored.

        >>> pan = np.array([[[1, 0, 3], [0, 1, 0], [0, 0, 1]]])
        >>> camera_flow(pan, Crop(top=0, left=0, scale=2, flip=True, size=(1, 1))).flatten().tolist()
        [-6.0, 0.0]
    """
    y, x = (torch.from_numpy(at).float() for at in crop_sampling_positions(crop))
    y, x = y[:, None], x[None]
    sides = torch.from_numpy(np.asarray(homographies, np.float32))[..., None, None]
    depth = sides[:, 2, 0] * x + (sides[:, 2, 1] * y + sides[:, 2, 2])
    signs = (-1 if crop.flip else 1, 1)
    moved = torch.empty((len(sides), 2, *crop.size))
    for axis, at in enumerate((x, y)):
        to = sides[:, axis, 0] * x + (sides[:, axis, 1] * y + sides[:, axis, 2])
        torch.sub(to.div_(depth), at, out=moved[:, axis]).mul_(signs[axis] * crop.scale)
    return moved
