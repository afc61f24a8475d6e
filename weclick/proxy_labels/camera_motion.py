"""Which pixels move with the camera: the residual of a flow after the dominant motion is taken away."""

from __future__ import annotations

import numpy as np

ROUNDS = 20
"""Of reweighting. A pan with turn and zoom is found to a hundredth of a pixel after ten."""

LEAST_PX = 0.01
"""The smallest scale of residuals, so that an exact fit divides by no zero."""


def residual_motion(flow: np.ndarray) -> np.ndarray:
    """How far each cell moves from the dominant motion of its frame.

    The dominant motion is an affine one, u = a + b x + c y. It is found from the median flow on by reweighted
    least squares, with the weights of Geman and McClure and the median residual as their scale: what moves
    otherwise soon counts for nothing. So it follows pans, turns and zooms of the camera as long as most of
    the frame does. It does not follow the parallax of a scene with depth.

    Args:
        flow: (2, h, w) px.

    Returns:
        (h, w) float64, px of the same grid, at least 0.
    """
    height, width = flow.shape[1:]
    y, x = np.mgrid[:height, :width] / max(height, width)
    at = np.stack([np.ones_like(x), x, y], -1).reshape(-1, 3)
    moved = flow.reshape(2, -1).T.astype(np.float64)
    residual = np.linalg.norm(moved - np.median(moved, 0), axis=1)
    for _ in range(ROUNDS):
        scale = max(float(np.median(residual)), LEAST_PX)
        weights = 1 / (1 + (residual / scale) ** 2) ** 2
        fit = np.linalg.lstsq(np.sqrt(weights)[:, None] * at, np.sqrt(weights)[:, None] * moved)[0]
        residual = np.linalg.norm(moved - at @ fit, axis=1)
    return residual.reshape(height, width)
