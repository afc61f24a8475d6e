"""Balanced seed loss: background and foreground cues weigh the same (Huang et al. 2018, DSRG)."""

from __future__ import annotations

import torch
from torch import Tensor

from weclick.losses.blockwise import wide_dtype
from weclick.losses.image_cues import FLOOR, present_cues


def balanced_seed_loss(logits: Tensor, cues: Tensor, present: Tensor) -> Tensor:
    """Mean over images of the cross-entropy at background cues plus that at foreground cues.

        L = - sum_{u in S_0} log p_0(u) / max(|S_0|, 1e-4)
            - sum_{c in T, c > 0} sum_{u in S_c} log p_c(u) / max(sum_{c in T, c > 0} |S_c|, 1e-4)

    with T the image's classes, S_c the cues of class c, and p the plain softmax, at least 1e-4 (DSRG, Eq. 2;
    the floors are those of its public code).

    Args:
        logits: (B, K, h, w) floating point. Class 0 is background. Half precision is counted in single.
        cues: (B, K, h, w) bool; a pixel without a class is of no cue.
        present: (B, K) bool, the classes of each image. Background always counts as present.

    Returns:
        Scalar in 0..18.5, float32 or float64; a part without cues is 0. Where p is below its floor, a cue has
        no gradient.

    Raises:
        ValueError: shapes disagree.

    Example:
        Two background cues and one of class 1, of which the network knows nothing: log 2 for each kind.

        >>> cues = torch.tensor([[1, 1, 0], [0, 0, 1]]).bool().view(1, 2, 1, 3)
        >>> balanced_seed_loss(torch.zeros(1, 2, 1, 3), cues, torch.tensor([[True, True]]))
        tensor(1.3863)
    """
    counted = present_cues(logits, cues, present)
    surprise = -torch.softmax(logits.to(wide_dtype(logits)), 1).clamp(min=FLOOR).log()
    images = _mean_at(surprise[:, :1], counted[:, :1]) + _mean_at(surprise[:, 1:], counted[:, 1:])
    return images.sum() / max(1, len(images))


def _mean_at(surprise: Tensor, counted: Tensor) -> Tensor:
    """Each image's mean at its cues (B,)."""
    count = counted.sum((1, 2, 3)).to(surprise.dtype)
    return (surprise * counted).sum((1, 2, 3)) / count.clamp(min=FLOOR)
