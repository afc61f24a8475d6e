"""Maps of classes, stronger where something moves (Liu et al., CVPR 2021, "f-CAM")."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch

from weclick.common.errors import InputError
from weclick.geometry import Crop, camera_flow, dominant_homography
from weclick.proxy_labels.array_kind import as_given, as_tensor

Motion = Literal["raw", "residual"]

LEAST_CELLS = 0.01
"""Motion beside the camera's that is shorter is none: so near a homography is found, and a flow is stored."""


def amplify(
    cam: Any, flow: Any, *, factor: float = 2.0, percentile: float = 80, motion: Motion = "raw"
) -> Any:
    """Multiply maps by a factor where a frame moves fast: f-CAM = CAM x factor^[|F| > T].

    T is a percentile of |F| over the frame. Where all cells move alike, none moves faster than T, and nothing
    is amplified. Maps are neither normalised nor clipped afterwards, since clipping at 1 could change which
    class is the strongest. Divide by the factor to stay in 0..1.

    The paper takes the flow as it is (raw). A camera that follows an object makes the background fast, so
    residual takes away the homography that most of the frame follows.

    Args:
        cam: (K, h, w) floating point, at least 0, numpy or torch.
        flow: (2, h, w), (dx, dy) px of this grid, from the frame to a neighbour.
        factor: above 0. The paper has 2 with percentile 80 (YouTube-VIS) and 5 with 50 (Cityscapes).
        percentile: 0..100; between two values of |F| it is linear.
        motion: raw or residual.

    Returns:
        (K, h, w) of the maps' type, numpy or torch as `cam`.

    Raises:
        InputError: shapes do not fit, maps are no floating point, maps or the flow are not finite, or an
            option is unknown or out of its range.

    Example:
        >>> flow = np.zeros((2, 1, 4))
        >>> flow[0, 0, 2] = 3
        >>> amplify(np.array([[[0.5, 0.25, 0.5, 0.0]]]), flow)
        array([[[0.5 , 0.25, 1.  , 0.  ]]])
    """
    maps, moved = as_tensor(cam, "maps"), as_tensor(flow, "the flow").detach().double().cpu().numpy()
    if maps.ndim != 3 or moved.shape != (2, *maps.shape[1:]) or not moved.size:
        raise InputError(
            f"maps are {tuple(maps.shape)} and the flow {moved.shape}, expected (K, h, w) and (2, h, w); "
            "bring both to one grid"
        )
    if not maps.is_floating_point() or not maps.isfinite().all():
        raise InputError(
            f"maps are {str(maps.dtype).removeprefix('torch.')}, or not all finite, expected finite ones of "
            "floating point; divide whole numbers by the largest that they can have"
        )
    if not np.isfinite(moved).all():
        raise InputError("the flow is not finite everywhere; estimate it again, or take it for 0 there")
    if not 0 < factor < np.inf or not 0 <= percentile <= 100 or motion not in get_args(Motion):
        raise InputError(
            f"factor is {factor!r}, percentile {percentile!r} and motion {motion!r}, expected a finite "
            f"number above 0, one of 0..100, and {' or '.join(get_args(Motion))}"
        )
    speed = np.hypot(*moved) if motion == "raw" else _beside_the_camera(moved)
    fast = torch.from_numpy(speed > np.percentile(speed, percentile)).to(maps.device)
    return as_given(maps.where(~fast, maps * factor).to(maps.dtype), cam)


def _beside_the_camera(flow: np.ndarray) -> np.ndarray:
    """How far each cell moves from where the dominant homography takes it (h, w)."""
    size = (flow.shape[1], flow.shape[2])
    whole = Crop(top=0, left=0, scale=1, flip=False, size=size)
    camera = camera_flow(dominant_homography(flow)[None], whole)[0].numpy()
    speed = np.hypot(*(flow - camera))
    return np.where(speed < LEAST_CELLS, 0, speed)
