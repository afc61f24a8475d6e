"""Partial cross-entropy: the supervised loss, at clicked pixels alone (WeClick, Eq. 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weclick.losses.blockwise import wide_dtype
from weclick.losses.shapes import check_four_axes, check_shape


def partial_cross_entropy(
    logits: Tensor,
    points: Tensor,
    classes: Tensor,
    *,
    input_size: tuple[int, int],
    class_weights: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy over the clicks of a batch.

    Equals cross-entropy at the clicked pixels after upsampling the logits bilinearly (align_corners=False) to
    `input_size`, but reads only four logits a click. Half precision is counted in single.

    Args:
        logits: (B, K, h, w) floating point.
        points: (N, 3) floating point, [batch, y, x]; y and x in input pixels, centres at integers.
        classes: (N,) int64 in 0..K-1.
        input_size: (H, W) of the input in pixels.
        class_weights: (K,) or None; the mean is weighted, as in `torch.nn.functional.cross_entropy`.
        weights: (N,) what each point counts on top; None: 1. The points of a scribble share the weight of one
            click.

    Returns:
        Scalar >= 0, float32 or float64; 0 with zero gradient if a batch has no click.

    Raises:
        ValueError: shapes disagree, or (checked on a CPU only) a point or class is outside its range.

    Example:
        A network that cannot decide between two classes pays log 2 a click.

        >>> logits, click = torch.zeros(1, 2, 1, 1), torch.tensor([[0.0, 3.0, 5.0]])
        >>> partial_cross_entropy(logits, click, torch.tensor([1]), input_size=(8, 8))
        tensor(0.6931)
    """
    check_four_axes("logits", logits, "(B, K, h, w)")
    check_shape("points", points, (len(points), 3), "one row [batch, y, x] a click")
    check_shape("classes", classes, (len(points),), "one class a click")
    if class_weights is not None:
        check_shape("class_weights", class_weights, (logits.shape[1],), "one weight a class")
    if points.device.type == classes.device.type == "cpu":  # the check would make a GPU wait
        _check_values(logits, points, classes, input_size)

    at_clicks = sample_logits(logits, points.to(logits.device), input_size)
    classes = classes.to(logits.device)
    if class_weights is None:
        class_weights = at_clicks.new_ones(logits.shape[1])
    class_weights = class_weights.to(at_clicks)
    if weights is not None:
        check_shape("weights", weights, (len(points),), "one weight a point")
        each = F.cross_entropy(at_clicks, classes, reduction="none")
        share = class_weights[classes] * weights.to(at_clicks)
        return (each * share).sum() / share.sum().clamp(min=torch.finfo(each.dtype).tiny)
    total = F.cross_entropy(at_clicks, classes, weight=class_weights, reduction="sum")
    return total / class_weights[classes].sum().clamp(min=torch.finfo(total.dtype).tiny)


def sample_logits(logits: Tensor, points: Tensor, input_size: tuple[int, int]) -> Tensor:
    """Logits (N, K) at the `points` (N, 3) of the input, read bilinearly from (B, K, h, w).

    Example:
        Two cells cover four pixels: cell centres lie at x = 0.5 and x = 2.5, so x = 1.5 is half way.

        >>> logits = torch.tensor([[[[0.0, 2.0]], [[1.0, -1.0]]]])
        >>> sample_logits(logits, torch.tensor([[0, 0, 0.5], [0, 0, 1.5], [0, 0, 3.0]]), (1, 4))
        tensor([[ 0.,  1.],
                [ 1.,  0.],
                [ 2., -1.]])
    """
    (rows, weights_y), (columns, weights_x) = (
        _neighbours(points[:, axis + 1], logits.shape[axis + 2], input_size[axis]) for axis in (0, 1)
    )
    corners = logits[points[:, 0].long()[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    corners = corners.to(wide_dtype(logits))  # (N, 2, 2, K)
    weights = (weights_y[:, :, None] * weights_x[:, None, :]).to(corners)
    return (corners * weights[..., None]).sum((1, 2))


def _neighbours(position: Tensor, cells: int, pixels: int) -> tuple[Tensor, Tensor]:
    """The two logit cells (N, 2) around each input position along one axis, and their weights (N, 2)."""
    cell = ((position.double() + 0.5) * (cells / pixels) - 0.5).clamp(0, cells - 1)
    low = cell.floor()
    weight = cell - low
    indices = torch.stack([low, low + 1], 1).long().clamp_(max=cells - 1)
    return indices, torch.stack([1 - weight, weight], 1)


def _check_values(logits: Tensor, points: Tensor, classes: Tensor, input_size: tuple[int, int]) -> None:
    low = points.new_tensor([0, -0.5, -0.5])
    high = points.new_tensor([logits.shape[0] - 1, input_size[0] - 0.5, input_size[1] - 0.5])
    outside = ((points < low) | (points > high)).any(1)
    if outside.any():
        raise ValueError(
            f"point {points[outside][0].tolist()} [batch, y, x] is outside a batch of {logits.shape[0]} "
            f"inputs of {input_size[0]}x{input_size[1]} px; drop the clicks that a crop has cut off"
        )
    unknown = (classes < 0) | (classes >= logits.shape[1])
    if unknown.any():
        raise ValueError(f"class {int(classes[unknown][0])} of a click, expected 0..{logits.shape[1] - 1}")
