"""What the losses of tags and heatmaps share: an image's classes as they are given, and its cells."""

from __future__ import annotations

from torch import Tensor

from weclick.losses.shapes import check_four_axes, check_shape


def tagged_cells(logits: Tensor, present: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The classes of each image (B, K) bool, the cells that show it (B, 1, h, w), and if any does (B,).

    An image without a cell that shows it tells nothing. Such an image has no class here. Its cells are all of
    its grid then, so that nothing is divided by 0.

    Args:
        logits: (B, K, h, w).
        present: (B, K), the classes of each image. No class is added, background neither.
        valid: (B, 1, h, w), cells that show the image; None: all.

    Raises:
        ValueError: shapes disagree.

    Example:
        The second image is all padding.

        >>> import torch
        >>> present, valid = torch.ones(2, 3).bool(), torch.tensor([True, False]).view(2, 1, 1, 1)
        >>> classes, cells, _ = tagged_cells(torch.zeros(2, 3, 1, 1), present, valid)
        >>> classes.tolist(), cells.flatten().tolist()
        ([[True, True, True], [False, False, False]], [True, True])
    """
    check_four_axes("logits", logits, "(B, K, h, w)")
    check_shape("present", present, logits.shape[:2], "one flag for each image and class")
    classes = present.detach().to(logits.device).bool()
    if valid is None:
        cells = classes.new_ones((len(logits), 1, *logits.shape[2:]))
        return classes, cells, cells.flatten(1).any(1)
    check_shape("valid", valid, (len(logits), 1, *logits.shape[2:]), "one flag for each image and cell")
    cells = valid.detach().to(logits.device).bool()
    shown = cells.flatten(1).any(1)
    return classes & shown[:, None], cells | ~shown[:, None, None, None], shown
