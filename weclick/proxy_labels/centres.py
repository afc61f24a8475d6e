"""Which cells share a centre: the objects that a field of displacements tells apart (Ahn et al. 2019, "IRN").

Every cell follows the displacements until it rests at its object's centre. Around a centre displacements are
small. So each region of small displacements is an object, and has the cells that end in it.
"""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.proxy_labels.array_kind import as_given, as_tensor


def centroids(displacement: Any, *, iterations: int = 300) -> Any:
    """Where each cell comes to rest, if it follows the displacements for some iterations.

    In each it moves by the displacement at its place, which is bilinear between cells, and never leaves the
    grid. At last it goes to the nearest cell, and from the middle of two to the even one.

    Args:
        displacement: (2, h, w), (dy, dx) cells, numpy or torch.
        iterations: at least 0. With 100, one to three cells in a hundred end elsewhere.

    Returns:
        (2, h, w) int64, y and x in 0..h-1 and 0..w-1, numpy or torch as `displacement`.

    Raises:
        InputError: the field has another shape, or numbers that are not finite.

    Example:
        >>> field = np.array([[[0.0, 0, 0]], [[1, 0, -0.75]]])
        >>> centroids(field)[1].tolist()
        [[1, 1, 1]]
    """
    field = _checked(displacement)
    if type(iterations) is not int or iterations < 0:
        raise InputError(f"iterations is {iterations!r}, expected a whole number from 0; IRN has 300")
    sides = field.shape[1:]
    y, x = torch.meshgrid(*(torch.arange(side).to(field) for side in sides), indexing="ij")
    for _ in range(iterations):
        step = _between_cells(field, y, x)
        y, x = ((at + by).clamp(0, side - 1) for at, by, side in zip((y, x), step, sides, strict=True))
    return as_given(torch.stack([y, x]).round().long(), displacement)


def group(displacement: Any, *, weak_px: float = 2.5, iterations: int = 300) -> Any:
    """The number of the object that each cell belongs to.

    Args:
        displacement: (2, h, w), (dy, dx) cells, numpy or torch.
        weak_px: displacements that are shorter count as small, cells; above 0. Cells of small displacement
            that touch at a side are one region.
        iterations: see `centroids`.

    Returns:
        (h, w) int64, numpy or torch as `displacement`: 0 for cells that end outside every region, and 1, 2,
        .. for those that end in one, in the order of the regions. No number but 0 is left out.

    Raises:
        InputError: as `centroids`, or `weak_px` is out of its range.

    Example:
        Two centres, at both ends of a row.

        >>> field = np.zeros((2, 1, 8))
        >>> field[1, 0, 1:4], field[1, 0, 4:7] = -3, 3
        >>> group(field).tolist()
        [[1, 1, 1, 1, 2, 2, 2, 2]]
    """
    field = _checked(displacement)
    if not weak_px > 0:
        raise InputError(f"weak_px is {weak_px!r}, expected a number of cells above 0; IRN has 2.5")
    weak = field.square().sum(0).sqrt() < weak_px
    regions = cc3d.connected_components(weak.cpu().numpy().astype(np.uint8), connectivity=4)
    y, x = centroids(field, iterations=iterations).cpu()
    reached = torch.from_numpy(regions.astype(np.int64))[y, x]
    _, numbers = torch.cat([reached.new_zeros(1), reached.flatten()]).unique(return_inverse=True)
    return as_given(numbers[1:].view(reached.shape).to(field.device), displacement)


def _between_cells(field: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """A field (2, h, w) at positions inside the grid, bilinear (2, ...)."""
    (top, left), (low, right) = (y.floor(), x.floor()), (y.ceil(), x.ceil())
    down, along = y - top, x - left
    width = field.shape[2]
    flat = field.flatten(1)

    def at(row: Tensor, column: Tensor) -> Tensor:
        return flat[:, (row * width + column).long()]

    return (
        at(low, right) * down * along
        + at(top, right) * (1 - down) * along
        + at(low, left) * down * (1 - along)
        + at(top, left) * (1 - down) * (1 - along)
    )


def _checked(displacement: Any) -> Tensor:
    field = as_tensor(displacement, "displacements")
    if field.ndim != 3 or len(field) != 2 or not field.numel():
        raise InputError(
            f"displacements have shape {tuple(field.shape)}, expected (2, h, w): (dy, dx) of cells"
        )
    if not field.isfinite().all():
        raise InputError(
            "displacements are not all finite; look whether the network that gave them has diverged"
        )
    return field.detach().to(torch.promote_types(field.dtype, torch.float32))
