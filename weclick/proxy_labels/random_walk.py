"""Random walks that carry maps of classes through a frame and stop at its edges (Ahn et al. 2019, "IRN").

Public code multiplies dense matrices of (h w)^2 numbers: 2.6 GB for a frame of 480x854, 69 GB for one of
Cityscapes. A cell reaches at most 68 others in a step, so here each step is a product with a sparse matrix.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from weclick.common.errors import InputError
from weclick.losses.paths import affinities, directions
from weclick.proxy_labels.array_kind import as_given, as_tensor

FAINTEST = 1e-12
"""Weights below this beside a cell's own weight of 1 are left out. All steps together cannot tell them from
0, and products of them leave the range of normal numbers, where a processor is a hundred times slower."""


def walk(maps: Any, edge: Any, *, radius: int = 5, beta: float = 10, exp_times: int = 8) -> Any:
    """Where 2^exp_times steps of a random walk bring maps, each of them times (1 - edge).

    A step from a cell i to a cell j within the radius has the weight a_ij^beta, and a_ii = 1. Here a is the
    affinity, 1 - the strongest edge on the path. Columns of this matrix are divided by their sums, and maps
    are row vectors in front of it: so in each step a cell takes the weighted mean of its surroundings.

    It is counted in double precision, since 256 steps in single precision drift by up to 7e-5. All maps walk
    at once: each further one costs little.

    Args:
        maps: (N, h, w), at least 0, numpy or torch.
        edge: (h, w) probability of an edge, 0..1.
        radius: cells, at least 2.
        beta: above 0; the larger, the less passes through a weak edge.
        exp_times: twice as many steps for each.

    Returns:
        (N, h, w), numpy or torch as `maps`; float64 for float64, else float32.

    Raises:
        InputError: shapes do not fit, maps are not finite, edges are no probabilities, or an option is out of
            its range.

    Example:
        An edge parts three cells. What lies on one side stays there; what lies on the edge is lost.

        >>> walk(torch.tensor([[[1.0, 1, 0]]]), torch.tensor([[0.0, 1, 0]]))
        tensor([[[1., 0., 0.]]])
    """
    found, between = as_tensor(maps, "maps"), as_tensor(edge, "edges")
    values = found.detach().double()
    _check(values, between, radius, beta, exp_times)
    between = between.detach().to(values)
    if values.numel():
        matrix = _transitions(between, radius, beta)
        columns = (values * (1 - between)).flatten(1).T.contiguous()
        for _ in range(2**exp_times):
            columns = matrix @ columns
        values = columns.T.reshape(values.shape)
    return as_given(values.to(torch.promote_types(found.dtype, torch.float32)), maps)


def first_met(
    seeds: Tensor, edge: Tensor, *, radius: int = 5, beta: float = 10, exp_times: int = 8
) -> Tensor:
    """How likely a random walk from each cell meets each of several seeds before all others (Grady 2006).

    The steps are those of `walk`, and a walk ends at the first seed that it meets. So a seed keeps its own
    cells however open the way to the others is. That is what `walk` cannot say: where no edge is sharp, it
    mixes what started in different places.

    Args:
        seeds: (N, h, w) bool. Of two that have the same cell the first one holds it.
        edge: (h, w) probability of an edge, 0..1.
        radius, beta, exp_times: as in `walk`. A walk that has met nothing after 2^exp_times steps counts for
            none.

    Returns:
        (N, h, w) float32, 0..1, whose sum over N is at most 1.

    Raises:
        InputError: as in `walk`.

    Example:
        An edge parts three cells on the left from one on the right.

        >>> seeds = torch.tensor([[[1, 0, 0, 0, 0]], [[0, 0, 0, 0, 1]]]).bool()
        >>> first_met(seeds, torch.tensor([[0.0, 0, 0, 1, 0]]))
        tensor([[[1., 1., 1., 0., 0.]],
        <BLANKLINE>
                [[0., 0., 0., 0., 1.]]])
    """
    held = seeds & (seeds.cumsum(0) == 1)
    _check(held.double(), edge, radius, beta, exp_times)
    if not held.numel():
        return held.float()
    matrix = _transitions(edge.detach().double(), radius, beta)
    fixed = held.flatten(1).T.double().contiguous()
    anywhere = fixed.any(1, keepdim=True)
    columns = fixed
    for _ in range(2**exp_times):
        columns = fixed.where(anywhere, matrix @ columns)
    return columns.T.reshape(held.shape).float()


def _transitions(edge: Tensor, radius: int, beta: float) -> Tensor:
    """The matrix (h w, h w) whose rows hold what each cell takes from which other ones. They sum to 1."""
    height, width = edge.shape
    reach = radius - 1
    steps = [each.step for each in directions(radius)]
    walled = pad(edge[None], (reach, reach, 0, reach), value=1.0)  # nothing passes out of the frame
    ahead = affinities(walled, radius)[0] ** beta
    shadow = pad(ahead, (reach, reach, reach, 0))
    behind = [
        shadow[i, reach - dy : reach - dy + height, reach - dx : reach - dx + width]
        for i, (dy, dx) in enumerate(steps)
    ]
    # steps are sorted, so that the neighbours of each cell come in the order of their columns
    weights = torch.cat([torch.stack(behind).flip(0), torch.ones_like(edge)[None], ahead]).flatten(1).T
    columns = torch.tensor([dy * width + dx for dy, dx in steps], device=edge.device)
    columns = torch.cat([-columns.flip(0), columns.new_zeros(1), columns])
    columns = columns + torch.arange(height * width, device=edge.device)[:, None]
    kept = weights >= FAINTEST
    weights = weights.where(kept, 0)
    ends = pad(kept.sum(1).cumsum(0), (1, 0))
    return _sparse(ends, columns[kept], (weights / weights.sum(1, keepdim=True))[kept])


def _sparse(ends: Tensor, columns: Tensor, weights: Tensor) -> Tensor:
    """A square matrix, from where its rows end in the list of its columns and weights."""
    side = len(ends) - 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            ends.int(), columns.int(), weights, (side, side), check_invariants=False
        )


def _check(maps: Tensor, edge: Tensor, radius: int, beta: float, exp_times: int) -> None:
    if maps.ndim != 3 or edge.shape != maps.shape[1:]:
        raise InputError(
            f"maps are {tuple(maps.shape)} and the edge {tuple(edge.shape)}, expected (N, h, w) and (h, w); "
            "bring both to one grid"
        )
    if not maps.isfinite().all():
        raise InputError("maps are not all finite; look whether the network that gave them has diverged")
    if not ((edge >= 0) & (edge <= 1)).all():
        raise InputError(
            f"edges are {float(edge.min()):g}..{float(edge.max()):g}, expected probabilities 0..1; take the "
            "sigmoid of a network's logits"
        )
    if type(radius) is not int or radius < 2 or not beta > 0 or type(exp_times) is not int or exp_times < 0:
        raise InputError(
            f"radius is {radius!r}, beta {beta!r} and exp_times {exp_times!r}, expected a whole number from "
            "2, a number above 0 and a whole number from 0; IRN has 5, 10 and 8"
        )
