"""Which classes an image shows: the loss of a classifier that learns from tags."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from weclick.losses.blockwise import wide_dtype
from weclick.losses.shapes import check_four_axes, check_shape


def multilabel_soft_margin(
    maps: Tensor, tags: Tensor, inside: Tensor, *, complete: bool = True, background: bool = True
) -> Tensor:
    """Sigmoid cross-entropy of image-level classes, mean over classes and images (Ahn et al. 2019; F2F).

    An image's score s_c of a class is the mean of its map over the cells inside the image (global average
    pooling). A class that occurs pays log(1 + exp(-s_c)), one that is absent log(1 + exp(s_c)). Class 0 is
    background, which neither has tags nor learns, unless the data set has no background. Half precision is
    counted in single.

    Args:
        maps: (B, K, h, w) floating point, logits.
        tags: (B, K) bool, the classes that occur.
        inside: (B, 1, h, w) bool, cells that show the image; padding does not count.
        complete: whether a class without a tag is absent. If not, only tagged classes count.
        background: whether class 0 is background.

    Returns:
        Scalar >= 0, float32 or float64; 0 with zero gradient if nothing counts.

    Raises:
        ValueError: shapes disagree.

    Example:
        A network that knows nothing pays log 2 for each class.

        >>> import torch
        >>> tags, inside = torch.tensor([[True, True, False]]), torch.ones(1, 1, 2, 2, dtype=torch.bool)
        >>> multilabel_soft_margin(torch.zeros(1, 3, 2, 2), tags, inside)
        tensor(0.6931)
    """
    check_four_axes("maps", maps, "(B, K, h, w)")
    check_shape("tags", tags, maps.shape[:2], "(B, K), as the maps")
    check_shape("inside", inside, (len(maps), 1, *maps.shape[2:]), "(B, 1, h, w), one value a cell")
    values, cells = maps.to(wide_dtype(maps)), inside.sum((2, 3)).clamp(min=1)
    learned = slice(int(background), None)
    scores, occurs = ((values * inside).sum((2, 3)) / cells)[:, learned], tags[:, learned]
    counted = occurs.new_ones(occurs.shape) if complete else occurs
    margins = softplus(scores.where(~occurs, -scores))
    return (margins * counted).sum() / counted.sum().clamp(min=1)
