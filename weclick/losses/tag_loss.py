"""Tag loss: an image's classes are somewhere in it, its other classes are nowhere (Saleh et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from weclick.losses.blockwise import wide_dtype
from weclick.losses.image_tags import tagged_cells
from weclick.losses.shapes import check_choice

MOST_R = 1e6
"""Log-sum-exp of probabilities is their maximum long before."""

NEAREST = 1e-6
"""How near to 0 and 1 a pooled probability comes, so that its logarithms stay finite."""


def tag_loss(
    logits: Tensor,
    present: Tensor,
    *,
    pooling: str = "lse",
    r: float = 5.0,
    valid: Tensor | None = None,
    complete: bool = True,
) -> Tensor:
    """Mean over images of the cross-entropy of pooled probabilities with the image's tags.

        L = - mean_{k in T} log P_k - mean_{k not in T} log(1 - P_k)

    with T the image's classes and P_k what pooling makes of the softmax S_k over the image's cells I,
    clamped to [1e-6, 1 - 1e-6]. Log-sum-exp lies between the mean (r -> 0) and the maximum (r -> infinity):

        P_k = 1/r log(1/|I| sum_{u in I} exp(r S_k(u)))

    (Saleh et al. 2017, Eqs. 2 and 3). The mean over no class is 0. An image
    without a cell that shows it costs 0.

    Args:
        logits: (B, K, h, w) floating point. Half precision is counted in single.
        present: (B, K) bool, the classes of each image. No class is added: give background its flag.
        pooling: lse, max or mean.
        r: > 0, how near to the maximum log-sum-exp comes. 5 is the paper's.
        valid: (B, 1, h, w) bool, cells that show the image; padding does not count. None: all.
        complete: whether a class without a tag is absent. If not, the second mean is left out.

    Returns:
        Scalar >= 0, float32 or float64. A clamped P_k has no gradient.

    Raises:
        ValueError: shapes disagree, there is no such pooling, or r is not positive or too large.

    Example:
        Class 0 is there, class 1 is not, and the network cannot decide: 2 log 2.

        >>> tag_loss(torch.zeros(1, 2, 2, 2), torch.tensor([[True, False]]))
        tensor(1.3863)
    """
    classes, cells, shown = tagged_cells(logits, present, valid)
    check_choice("pooling", pooling, tuple(POOLINGS))
    if not 0 < r <= MOST_R:
        raise ValueError(f"r is {r}, expected a number above 0 and at most {MOST_R}: 5 is the paper's")
    probs = torch.softmax(logits.to(wide_dtype(logits)), 1)
    pooled = POOLINGS[pooling](probs, cells, r).clamp(NEAREST, 1 - NEAREST)
    images = _mean_of_chosen(-pooled.log(), classes)
    if complete:
        images = images + _mean_of_chosen(-(1 - pooled).log(), ~classes)
    return (images * shown).sum() / max(1, len(images))


def _log_sum_exp(probs: Tensor, cells: Tensor, r: float) -> Tensor:
    # In double precision: of a small r, the two logarithms are nearly equal.
    inside = (r * probs.double()).masked_fill(~cells, -torch.inf)
    return ((inside.logsumexp((2, 3)) - cells.sum((2, 3)).double().log()) / r).to(probs.dtype)


def _maximum(probs: Tensor, cells: Tensor, r: float) -> Tensor:
    return probs.masked_fill(~cells, -torch.inf).amax((2, 3))


def _mean(probs: Tensor, cells: Tensor, r: float) -> Tensor:
    return (probs * cells).sum((2, 3)) / cells.sum((2, 3))


POOLINGS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "lse": _log_sum_exp,
    "max": _maximum,
    "mean": _mean,
}
"""Name -> what pools (B, K, h, w) over the cells (B, 1, h, w) to (B, K)."""


def _mean_of_chosen(values: Tensor, chosen: Tensor) -> Tensor:
    """Each image's mean over its chosen classes (B,); 0 where none is chosen."""
    return (values * chosen).sum(1) / chosen.sum(1).clamp(min=1)
