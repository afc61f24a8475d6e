"""Which things of two frames belong together, and which masks lie in others."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from weclick.common.errors import InputError
from weclick.proxy_labels.instance_arrays import alike, as_classes, as_masks
from weclick.proxy_labels.overlaps import areas, mask_iom

SMALLER_SHARE = 0.5
"""A mask lies in another one if that one covers more than this share of it (Liu et al., CVPR 2021)."""


def match(weights: Any) -> Any:
    """Pairs of rows and columns whose weights have the largest sum, each row and column at most once.

    Args:
        weights: (N, M), numpy or torch. A weight of 0 or less is no pair.

    Returns:
        (P, 2) int64 row and column of each pair, by ascending row; numpy or torch as `weights`.

    Raises:
        InputError: it is no matrix of finite numbers.

    Example:
        The largest weight alone would leave the second row nothing.

        >>> match(np.array([[1.0, 0.9], [0.9, 0.0]])).tolist()
        [[0, 1], [1, 0]]
    """
    found = weights.detach().cpu().double().numpy() if isinstance(weights, Tensor) else np.asarray(weights)
    if found.ndim != 2 or found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise InputError(
            f"weights are {found.dtype} of shape {found.shape}, expected a matrix (N, M) of finite numbers"
        )
    gains = np.maximum(found.astype(np.float64), 0)  # else a pair of negative weight might be enforced
    pairs = np.stack(linear_sum_assignment(gains, maximize=True), 1).astype(np.int64)
    pairs = pairs[gains[pairs[:, 0], pairs[:, 1]] > 0]
    return torch.from_numpy(pairs).to(weights.device) if isinstance(weights, Tensor) else pairs


def iom_nms(masks: Any, classes: Any, *, threshold: float = SMALLER_SHARE) -> Any:
    """The masks that do not lie in a larger one (IoM-NMS of Liu et al., CVPR 2021).

    IoM is the intersection over the smaller mask. Masks are taken by falling area, the earlier one first
    among equals. One is dropped if its IoM with a kept one exceeds `threshold`. An empty mask is kept, since
    it overlaps nothing.

    Args:
        masks: (N, H, W) bool, numpy or torch.
        classes: (N,) integers: only masks of one class are compared. None compares all.
        threshold: 0..1.

    Returns:
        (K,) int64 indices of the kept masks, ascending; numpy or torch as `masks`.

    Raises:
        InputError: masks, classes or threshold are not as above.
    """
    found = as_masks(masks, "iom_nms")
    numbers = None if classes is None else as_classes(classes, len(found), "iom_nms").to(found.device)
    return alike(outermost(found, numbers, threshold=threshold), masks)


def outermost(
    masks: Tensor, classes: Tensor | None, *, threshold: float = SMALLER_SHARE, first: int = 0
) -> Tensor:
    """As `iom_nms`, of torch alone.

    Args:
        masks, classes, threshold: as there.
        first: so many masks at the beginning are taken before all others, whatever their area.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"the threshold of IoM is {threshold}, expected 0 to 1")
    inside = mask_iom(masks, masks) > threshold
    if classes is not None:
        inside &= classes[:, None] == classes
    covered, sizes = inside.cpu().numpy(), areas(masks).cpu().numpy()
    kept: list[int] = []
    for index in np.lexsort((-sizes, np.arange(len(sizes)) >= first)):
        if not covered[index, kept].any():
            kept.append(int(index))
    return torch.tensor(sorted(kept), dtype=torch.int64, device=masks.device)
