"""What the losses of SEC and DSRG share: probabilities that are never 0, and an image's classes."""

from __future__ import annotations

import torch
from torch import Tensor

from weclick.losses.blockwise import wide_dtype
from weclick.losses.shapes import check_four_axes, check_shape

FLOOR = 1e-4
"""SEC's least probability. Its logarithm bounds what a single pixel can cost: 9.2."""


def floored_softmax(logits: Tensor) -> Tensor:
    """SEC's probabilities: (softmax + 1e-4) / (1 + K 1e-4), (B, K, h, w). Half precision becomes single.

    Example:
        A class that the network rules out keeps a ten-thousandth.

        >>> floored_softmax(torch.tensor([0.0, -1e9]).view(1, 2, 1, 1)).flatten()
        tensor([9.9990e-01, 9.9980e-05])
    """
    return (torch.softmax(logits.to(wide_dtype(logits)), 1) + FLOOR) / (1 + FLOOR * logits.shape[1])


def present_classes(logits: Tensor, present: Tensor) -> Tensor:
    """The classes of each image (B, K) bool. Background counts as present, whatever its flag says.

    Raises:
        ValueError: logits have not four axes, or `present` is not (B, K).

    Example:
        >>> present_classes(torch.zeros(1, 3, 1, 1), torch.tensor([[False, False, True]]))
        tensor([[ True, False,  True]])
    """
    check_four_axes("logits", logits, "(B, K, h, w)")
    check_shape("present", present, logits.shape[:2], "one flag for each image and class")
    classes = present.detach().to(logits.device).bool().clone()
    classes[:, 0] = True
    return classes


def present_cues(logits: Tensor, cues: Tensor, present: Tensor) -> Tensor:
    """The cues of the classes that an image has (B, K, h, w) bool; those of its other classes do not count.

    Raises:
        ValueError: shapes disagree.

    Example:
        >>> cues = torch.ones(1, 3, 1, 1, dtype=torch.bool)
        >>> present_cues(torch.zeros(1, 3, 1, 1), cues, torch.tensor([[True, False, True]])).flatten()
        tensor([ True, False,  True])
    """
    classes = present_classes(logits, present)
    check_shape("cues", cues, logits.shape, "one flag for each class and pixel of the logits")
    return cues.detach().to(logits.device).bool() & classes[:, :, None, None]
