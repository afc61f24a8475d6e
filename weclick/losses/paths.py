"""Pairs of near cells and the paths between them (Ahn, Cho and Kwak 2019, "IRN").

A pair is a source and a target that is nearer than the radius. Every pair is met once: the target lies below
its source, or in the same row to the right. The affinity of a pair is 1 - the strongest edge on its path.

The sources of a grid of h x w cells are those whose targets all lie inside: h' = h - reach rows from the top
and w' = w - 2 reach columns in the middle, with reach = radius - 1. A smaller grid has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

Offset = tuple[int, int]
"""(dy, dx) cells, from the source."""

SOURCE = 0, 0


class PairPath(NamedTuple):
    """Where a target lies, and which cells the path to it meets.

    Attributes:
        step: of the target; dy >= 0, and dx > 0 where dy = 0.
        path: of each cell whose centre is less than one cell from the line, both ends included.

    Example:
        >>> directions(2)[0]
        PairPath(step=(0, 1), path=((0, 0), (0, 1)))
    """

    step: Offset
    path: tuple[Offset, ...]


@cache
def directions(radius: int) -> tuple[PairPath, ...]:
    """All directions with dy^2 + dx^2 < radius^2, sorted by their step.

    Args:
        radius: cells, at least 2.

    Raises:
        ValueError: the radius is less.

    Example:
        IRN learns from pairs within 10 cells, and walks with pairs within 5.

        >>> len(directions(10)), len(directions(5))
        (152, 34)
    """
    if type(radius) is not int or radius < 2:
        raise ValueError(
            f"radius is {radius!r}, expected a whole number of cells from 2: nearer are no pairs"
        )
    return tuple(PairPath(step, tuple(_path(*step))) for step in _steps(radius))


def _steps(radius: int) -> Iterator[Offset]:
    for dy in range(radius):
        for dx in range(1 if dy == 0 else 1 - radius, radius):
            if dy * dy + dx * dx < radius * radius:
                yield dy, dx


def _path(dy: int, dx: int) -> Iterator[Offset]:
    for y in range(dy + 1):
        for x in range(min(0, dx), max(0, dx) + 1):
            if (dy * x - dx * y) ** 2 < dy * dy + dx * dx:  # |cross product| / length is the distance
                yield y, x


def sources(values: Tensor, radius: int) -> Tensor:
    """The values of all sources: (..., h, w) -> (..., h', w').

    Example:
        >>> sources(torch.arange(9).view(3, 3), 2).tolist()
        [[1], [4]]
    """
    return _beside(values, SOURCE, radius)


def targets(values: Tensor, radius: int) -> Tensor:
    """The values of the targets, one for each direction and source: (..., h, w) -> (..., D, h', w').

    Example:
        >>> targets(torch.arange(9).view(3, 3), 2)[..., 0, 0].tolist()  # those of the source 1
        [2, 3, 4, 5]
    """
    return torch.stack([_beside(values, each.step, radius) for each in directions(radius)], -3)


def affinities(edge: Tensor, radius: int) -> Tensor:
    """How much the two cells of each pair belong together: 1 - the strongest edge on the path.

    Args:
        edge: (B, h, w) floating point, 0..1. The strongest edge of a path receives its gradient.
        radius: cells, at least 2.

    Returns:
        (B, D, h', w'), 0..1, for each of the D directions and each source.

    Example:
        An edge at the source itself parts it from every other cell.

        >>> affinities(torch.tensor([[[0.0, 0.75, 0.0], [0.0, 0.0, 0.0]]]), 2).flatten()
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    with torch.no_grad():
        strongest = torch.stack([_strongest(edge, each.path, radius) for each in directions(radius)], 1)
    return 1 - edge.flatten(1).gather(1, strongest.flatten(1)).view(strongest.shape)


def _strongest(edge: Tensor, path: tuple[Offset, ...], radius: int) -> Tensor:
    """Where the strongest edge on the path from each source lies: (B, h', w'), row by row in the grid."""
    height, width = edge.shape[-2:]
    numbers = torch.arange(height * width, device=edge.device).view(1, height, width).expand(edge.shape)
    most, where = (_beside(values, path[0], radius) for values in (edge, numbers))
    for offset in path[1:]:
        other = _beside(edge, offset, radius)
        higher = other > most
        most, where = other.where(higher, most), _beside(numbers, offset, radius).where(higher, where)
    return where


def _beside(values: Tensor, offset: Offset, radius: int) -> Tensor:
    """The values at an offset from each source (..., h', w')."""
    reach = radius - 1
    height, width = max(0, values.shape[-2] - reach), max(0, values.shape[-1] - 2 * reach)
    top, left = offset[0], offset[1] + reach
    return values[..., top : top + height, left : left + width]
