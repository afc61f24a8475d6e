"""Masks of one frame seen from another."""

from __future__ import annotations

from typing import Any

import numpy as np

from weclick.common.errors import InputError
from weclick.evaluate.instances.found import as_array

_AT_ONCE = 16
"""Masks that are warped together: floating point takes four times their memory, and the warp some of that."""


def warp_masks(masks: np.ndarray, flow: Any, where: str) -> np.ndarray:
    """Masks of a frame on the grid of another: a bilinear backward warp, cut at one half.

    Args:
        masks: (N, H, W) bool.
        flow: (2, H, W) px (dx, dy) on the other frame's grid, pointing to the frame of the masks; numpy or
            torch. What points outside the image fetches nothing.
        where: the flow's place, for errors.

    Returns:
        (N, H, W) bool.

    Raises:
        InputError: the flow has another shape, or is no floating point.
    """
    import torch  # here, since scores of files need none

    from weclick.proxy_labels.aggregation import HALF, carry

    along = np.array(as_array(flow))
    wanted = (2, *masks.shape[1:])
    if along.shape != wanted or not np.issubdtype(along.dtype, np.floating):
        raise InputError(
            f"{where}: the flow is {along.shape} {along.dtype}, expected floating point {wanted}, (dx, dy) "
            "on the grid of the masks; bring it there with weclick.geometry.resize_flow"
        )
    field = torch.from_numpy(np.ascontiguousarray(along, np.float32))
    warped = [
        carry(torch.from_numpy(masks[first : first + _AT_ONCE].astype(np.float32)), field) > HALF
        for first in range(0, len(masks), _AT_ONCE)
    ]
    return torch.cat(warped).numpy() if warped else masks
