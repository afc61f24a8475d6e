"""Losses of a relation network: which cells belong together, and where their centre lies (IRN, 2019)."""

from __future__ import annotations

from torch import Tensor

from weclick.losses.blockwise import wide_dtype
from weclick.losses.paths import affinities, directions, sources, targets
from weclick.losses.shapes import check_four_axes, check_shape

LEAST = 1e-5
"""Added to what a logarithm is taken of, and to the number of pairs that a sum is divided by."""

UNKNOWN = 255


def affinity_displacement(
    edge: Tensor, displacement: Tensor, labels: Tensor, *, radius: int = 10
) -> dict[str, Tensor]:
    """The four losses of IRN (Ahn, Cho and Kwak, CVPR 2019); half their sum is its loss.

        positive   = mean_{bg} -log(a + 1e-5) / 2 + mean_{fg} -log(a + 1e-5) / 2
        negative   = mean_{other} -log(1 + 1e-5 - a)
        foreground = mean_{fg} |d_i - d_j - (j - i)|
        background = mean_{bg} |d_i - d_j|

    over pairs (i, j) of near cells, see `weclick.losses.paths`, with a the affinity of a pair and d the
    displacement. Pairs of two known labels are bg (both background), fg (both of one other class) or other.
    So d becomes the way to the centre of an object, of which labels say nothing. A mean divides by the number
    of pairs (of the displacement: twice that) + 1e-5.

    Args:
        edge: (B, 1, h, w) logits of edges. Half precision is counted in single.
        displacement: (B, 2, h, w), (dy, dx) cells.
        labels: (B, h, w) integer, 0 background, 255 unknown.
        radius: cells, at least 2.

    Returns:
        positive, negative, foreground and background: scalars >= 0, float32 or float64. A mean of no pair is
        0 with zero gradient.

    Raises:
        ValueError: shapes disagree, or the radius is less than 2.

    Example:
        Two cells of an object, and a network that says of both that they are its centre. One has to be a cell
        away from it; both components of the displacement count.

        >>> import torch
        >>> labels = torch.tensor([[[255, 1, 1]], [[255, 255, 255]]]).view(1, 2, 3)
        >>> losses = affinity_displacement(torch.zeros(1, 1, 2, 3), torch.zeros(1, 2, 2, 3), labels, radius=2)
        >>> {name: round(value.item(), 2) for name, value in losses.items()}
        {'positive': 0.35, 'negative': 0.0, 'foreground': 0.5, 'background': 0.0}
    """
    _check_relations(edge, displacement, labels)
    dtype = wide_dtype(edge)
    affinity = affinities(edge[:, 0].to(dtype).sigmoid(), radius)
    moved = displacement.to(dtype)
    apart = sources(moved, radius).unsqueeze(2) - targets(moved, radius)  # (B, 2, D, h', w')
    to_target = apart.new_tensor([each.step for each in directions(radius)]).T[..., None, None]
    background, foreground, other = _pairs(labels.to(edge.device), radius)
    near, far = -(affinity + LEAST).log(), -(1 + LEAST - affinity).log()
    return {
        "positive": (_mean_of_pairs(near, background) + _mean_of_pairs(near, foreground)) / 2,
        "negative": _mean_of_pairs(far, other),
        "foreground": _mean_of_pairs((apart - to_target).abs(), foreground[:, None].expand(apart.shape)),
        "background": _mean_of_pairs(apart.abs(), background[:, None].expand(apart.shape)),
    }


def _pairs(labels: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which pairs are both background, both of one other class, and of two classes: (B, D, h', w') bool."""
    here, there = sources(labels, radius).unsqueeze(1), targets(labels, radius)
    known = (here != UNKNOWN) & (there != UNKNOWN)
    same = known & (here == there)
    return same & (here == 0), same & (here != 0), known & (here != there)


def _mean_of_pairs(values: Tensor, chosen: Tensor) -> Tensor:
    return values.where(chosen, 0).sum() / (chosen.sum().to(values) + LEAST)


def _check_relations(edge: Tensor, displacement: Tensor, labels: Tensor) -> None:
    check_four_axes("edge", edge, "(B, 1, h, w)")
    batch, _, *grid = edge.shape
    check_shape("edge", edge, (batch, 1, *grid), "one logit a cell")
    check_shape("displacement", displacement, (batch, 2, *grid), "(dy, dx) of each cell of edge")
    check_shape("labels", labels, (batch, *grid), "a label for each cell of edge")
