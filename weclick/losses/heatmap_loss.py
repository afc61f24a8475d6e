"""Heatmap loss: where a class's heat is high, the network says that class (Saleh et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from weclick.losses.blockwise import wide_dtype
from weclick.losses.image_tags import tagged_cells
from weclick.losses.shapes import check_choice, check_shape

DIVISORS = ("tags", "present")


def heatmap_loss(
    logits: Tensor,
    masks: Tensor,
    present: Tensor,
    *,
    divisor: str = "tags",
    valid: Tensor | None = None,
) -> Tensor:
    """Mean over images of the cross-entropy in the masks of an image's classes; each class weighs the same.

        L = - 1/|T| sum_{k in T} 1/|B_k| sum_{u in B_k} log S_k(u)

    with T the image's classes, S the softmax, and B_k the cells of class k's mask (Saleh et al. 2017). A
    class whose mask is empty adds 0.

    Args:
        logits: (B, K, h, w) floating point. Half precision is counted in single.
        masks: (B, K, h, w) bool; a cell may lie in the masks of several classes.
        present: (B, K) bool, the classes of each image. No class is added: give background its flag.
        divisor: tags divides by |T|, present by the number of classes in T whose mask is not empty.
        valid: (B, 1, h, w) bool, cells that show the image; padding does not count. None: all.

    Returns:
        Scalar >= 0, float32 or float64; an image where nothing counts adds 0 and zero gradient.

    Raises:
        ValueError: shapes disagree, or there is no such divisor.

    Example:
        Two classes are there, one has a mask, and the network cannot decide: half of log 2.

        >>> masks = torch.tensor([True, False]).view(1, 2, 1, 1)
        >>> heatmap_loss(torch.zeros(1, 2, 1, 1), masks, torch.tensor([[True, True]]))
        tensor(0.3466)
    """
    classes, cells, _ = tagged_cells(logits, present, valid)
    check_shape("masks", masks, logits.shape, "one flag for each class and cell of the logits")
    check_choice("divisor", divisor, DIVISORS)
    counted = masks.detach().to(logits.device).bool() & cells & classes[:, :, None, None]
    surprise = -torch.log_softmax(logits.to(wide_dtype(logits)), 1)
    sizes = counted.sum((2, 3))
    means = surprise.where(counted, 0).sum((2, 3)) / sizes.clamp(min=1)
    divided = classes if divisor == "tags" else sizes > 0
    images = means.sum(1) / divided.sum(1).clamp(min=1)
    return images.sum() / max(1, len(images))
