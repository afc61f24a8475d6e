"""Flow boundary loss: cells that move alike belong together (Liu et al., CVPR 2021, "flowIRN")."""

from __future__ import annotations

import torch
from torch import Tensor

from weclick.losses.blockwise import wide_dtype
from weclick.losses.paths import affinities, sources, targets
from weclick.losses.shapes import check_choice, check_four_axes, check_shape

COMPONENTS = (2, 4)
UNITS = ("cell", "image_px")
SIGNALS = ("gradient", "flow")


def flow_boundary(
    edge: Tensor,
    flow: Tensor,
    *,
    radius: int = 10,
    weight_lambda: float = 2.0,
    components: int = 2,
    unit: str = "cell",
    stride: int = 4,
    signal: str = "gradient",
    valid: Tensor | None = None,
) -> Tensor:
    """Mean over pairs of near cells of how much they move apart where they belong together.

        L = mean_{(i, j)} |F'(i) - F'(j)| a + lambda (1 - a)

    with a the affinity of a pair, see `weclick.losses.paths`, and F' the gradient of the flow (Liu et al.
    2021, Eq. 2). So the affinity of a pair falls where |F'(i) - F'(j)| > lambda, and rises elsewhere. The
    paper sums over pairs; here a mean does not depend on the size of the image.

    The gradient is taken by central differences, one-sided at the border. A grid of one row (column) has no
    gradient along it.

    Args:
        edge: (B, 1, h, w) logits of edges. Half precision is counted in single.
        flow: (B, 2, h, w), (dx, dy) px of this grid, to a neighbouring frame; receives no gradient.
        radius: cells, at least 2.
        weight_lambda: lambda, >= 0.
        components: 2 takes (dFx/dx, dFy/dy), 4 also (dFx/dy, dFy/dx).
        unit: of the flow in F': px of this grid (cell), or px of the image (image_px), `stride` times that.
        stride: px of the image per cell.
        signal: gradient; or flow, which takes the flow itself in the place of its gradient.
        valid: (B, 1, h, w) bool, where the flow is believed. Pairs with another cell do not count, nor do
            those whose F' is not finite. None: everywhere.

    Returns:
        Scalar >= 0, float32 or float64. Without any pair it is 0, with zero gradient.

    Raises:
        ValueError: shapes disagree, there is no such choice, or the radius is less than 2.

    Example:
        Where all moves alike, half an affinity costs half of lambda.

        >>> flow_boundary(torch.zeros(1, 1, 2, 3), torch.ones(1, 2, 2, 3), radius=2)
        tensor(1.)
    """
    _check_moved(edge, flow, valid)
    check_choice("unit", unit, UNITS)
    check_choice("signal", signal, SIGNALS)
    if components not in COMPONENTS:
        raise ValueError(f"components is {components!r}, expected 2 or 4 of the flow's partial derivatives")
    dtype = wide_dtype(edge)
    affinity = affinities(edge[:, 0].to(dtype).sigmoid(), radius)
    with torch.no_grad():
        moved = flow.to(affinity) * (stride if unit == "image_px" else 1)
        told = moved if signal == "flow" else _derivatives(moved, components)
        held = told.isfinite().all(1)
        if valid is not None:
            held &= valid[:, 0].to(held)
        apart = (targets(told, radius) - sources(told, radius).unsqueeze(2)).norm(dim=1)
        counted = targets(held, radius) & sources(held, radius).unsqueeze(1)
    each = apart.where(counted, 0) * affinity + weight_lambda * (1 - affinity)
    return each.where(counted, 0).sum() / counted.sum().clamp(min=1)


def _derivatives(flow: Tensor, components: int) -> Tensor:
    """The partial derivatives of a flow (B, components, h, w), in its unit per cell."""
    x, y = flow.unbind(1)
    along = [_derivative(x, 2), _derivative(y, 1)]
    across = [_derivative(x, 1), _derivative(y, 2)] if components == max(COMPONENTS) else []
    return torch.stack(along + across, 1)


def _derivative(values: Tensor, axis: int) -> Tensor:
    if values.shape[axis] == 1:
        return torch.zeros_like(values)
    (derivative,) = torch.gradient(values, dim=axis)
    return derivative


def _check_moved(edge: Tensor, flow: Tensor, valid: Tensor | None) -> None:
    check_four_axes("edge", edge, "(B, 1, h, w)")
    batch, _, *grid = edge.shape
    check_shape("edge", edge, (batch, 1, *grid), "one logit a cell")
    check_shape("flow", flow, (batch, 2, *grid), "(dx, dy) of each cell of edge")
    if valid is not None:
        check_shape("valid", valid, (batch, 1, *grid), "one flag for each cell of edge")
