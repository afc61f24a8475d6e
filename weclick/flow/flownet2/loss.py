"""The loss of FlowNets: the end-point error at every size at which they predict a flow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from weclick.flow.flownet2.parts import DIV_FLOW

FINEST_STRIDE_PX = 4
FINEST_WEIGHT = 0.32


def endpoint_error(flow: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean length of the difference.

    Args:
        flow: (B, 2, H, W); receives gradient, 0 where flow and truth are equal.
        truth: the same shape and unit.
        valid: (B, 1, H, W), 1 where the truth is known; None: everywhere.

    Returns:
        Scalar in the unit of the flow; 0 if nothing is valid.
    """
    error = torch.linalg.vector_norm(flow - truth, dim=1, keepdim=True)
    if valid is None:
        return error.mean()
    weight = valid.to(error)
    return torch.where(weight > 0, error * weight, 0).sum() / weight.sum().clamp(min=1e-9)


def multiscale_loss(flows: Sequence[Tensor], truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """sum_n 0.32 / 2^n * end-point error of flow n against the truth averaged over its cells.

    Dosovitskiy et al. 2015, Sec. 3, with the weights of NVIDIA's PyTorch port, which favour the finest flow
    (the paper's favour the coarsest).

    Args:
        flows: what FlowNet2C, S and SD return in training mode: flow n is (B, 2, H / (4 * 2^n), ..) in units
            of 20 px; receive gradient.
        truth: (B, 2, H, W) px.
        valid: (B, 1, H, W), 1 where the truth is known; a cell's truth is the mean of its known pixels, and
            its weight their share.

    Returns:
        Scalar, in units of 20 px.

    Raises:
        ValueError: a flow is not on the grid of its place in the list.
    """
    known = torch.ones_like(truth[:, :1]) if valid is None else valid.to(truth)
    scaled = torch.where(known > 0, truth, 0) / DIV_FLOW
    total = truth.new_zeros(())
    for n, flow in enumerate(flows):
        stride = FINEST_STRIDE_PX * 2**n
        share = F.avg_pool2d(known, stride)
        if flow.shape[2:] != share.shape[2:]:
            raise ValueError(
                f"flow {n} is {tuple(flow.shape)}, expected {tuple(share.shape[2:])} cells of {stride} px "
                f"for a truth of {tuple(truth.shape)}; give the flows of training mode, finest first"
            )
        mean = F.avg_pool2d(scaled * known, stride) / share.clamp(min=1e-9)
        total = total + FINEST_WEIGHT / 2**n * endpoint_error(flow, mean, share)
    return total
