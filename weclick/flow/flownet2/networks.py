"""FlowNet2 and its parts, with the names and the numbers of the published checkpoints.

Ilg et al., "FlowNet 2.0: Evolution of Optical Flow Estimation with Deep Networks", CVPR 2017. Modules and
keys are named as in NVIDIA's PyTorch port, whose weights they load. All six take a pair of frames,
(B, 3, 2, H, W) RGB 0..255 with sides that are multiples of 64, and give the flow first -> second,
(B, 2, H, W) px at full size. The nets themselves compute flow / 20, at a quarter of the size.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weclick.flow.flownet2.parts import DIV_FLOW, FlowNetC, FlowNetFusion, FlowNetS, FlowNetSD, Flows
from weclick.geometry import backward_warp

MULTIPLE_PX = 64


class FlowNet2C(FlowNetC):
    """FlowNetC alone: correlates the features of both frames. In training mode as `FlowNet2S`."""

    def forward(self, pair: Tensor, both: bool = False) -> Tensor | Flows:
        """(B, 3, 2, H, W) -> (B, 2, H, W) px; `both`: (2 B, 2, H, W), behind them second -> first."""
        return _finish(self, self.flows(normalize_pair(pair), both))


class FlowNet2S(FlowNetS):
    """FlowNetS alone: both frames stacked.

    In training mode it returns (flow2, .., flow6), each (B, 2, H / 2^n, W / 2^n) in units of 20 px, for
    `multiscale_loss`.
    """

    def __init__(self) -> None:
        super().__init__(inputs=6)

    def forward(self, pair: Tensor) -> Tensor | Flows:
        """(B, 3, 2, H, W) -> (B, 2, H, W) px."""
        return _finish(self, self.flows(normalize_pair(pair)))


class FlowNet2SD(FlowNetSD):
    """FlowNetSD alone, for small displacements. In training mode as `FlowNet2S`."""

    def forward(self, pair: Tensor) -> Tensor | Flows:
        """(B, 3, 2, H, W) -> (B, 2, H, W) px."""
        return _finish(self, self.flows(normalize_pair(pair)))


class FlowNet2CS(nn.Module):
    """FlowNetC, refined by a FlowNetS."""

    def __init__(self) -> None:
        super().__init__()
        self.flownetc = FlowNetC()
        self.flownets_1 = FlowNetS()

    def forward(self, pair: Tensor, both: bool = False) -> Tensor:
        """(B, 3, 2, H, W) -> (B, 2, H, W) px; `both`: (2 B, 2, H, W), behind them second -> first."""
        return self.refine(pair, both)[1]

    def refine(self, pair: Tensor, both: bool) -> tuple[Tensor, Tensor]:
        """The frames of `normalize_pair`, one way or both, and their flow in px."""
        images = normalize_pair(pair)
        flow = upsample(self.flownetc(images, both)[0] * DIV_FLOW)
        if both:
            images = torch.cat((images, images.roll(3, 1)))
        return images, upsample(self.flownets_1(stack_with_warp(images, flow))[0] * DIV_FLOW)


class FlowNet2CSS(FlowNet2CS):
    """FlowNetC, refined by two FlowNetS one after the other; its flow is constant in squares of 4x4 px."""

    def __init__(self) -> None:
        super().__init__()
        self.flownets_2 = FlowNetS()

    def refine(self, pair: Tensor, both: bool) -> tuple[Tensor, Tensor]:
        """The frames of `normalize_pair`, one way or both, and their flow in px."""
        images, flow = super().refine(pair, both)
        flow2 = self.flownets_2(stack_with_warp(images, flow))[0]
        return images, upsample(flow2 * DIV_FLOW, mode="nearest")


class FlowNet2(FlowNet2CSS):
    """The whole: FlowNet2CSS for large displacements and FlowNetSD for small ones, fused."""

    def __init__(self) -> None:
        super().__init__()
        self.flownets_d = FlowNetSD()
        self.flownetfusion = FlowNetFusion()

    def forward(self, pair: Tensor, both: bool = False) -> Tensor:
        """(B, 3, 2, H, W) -> (B, 2, H, W) px; `both`: (2 B, 2, H, W), behind them second -> first."""
        images = self._estimate_twice(*self.refine(pair, both))
        _return_freed_memory(images.device)
        return self.flownetfusion(images)

    def _estimate_twice(self, images: Tensor, large: Tensor) -> Tensor:
        """(B, 11, H, W): first frame, flows for small and large motion, lengths, remaining errors."""
        # In here FlowNetSD predicts flow * 20, where the others predict flow / 20.
        _return_freed_memory(images.device)
        small = upsample(self.flownets_d(images)[0] / DIV_FLOW, mode="nearest")
        first, second = images.split(3, 1)
        flows = (small, large)
        lengths = [channel_norm(flow) for flow in flows]
        errors = [channel_norm(first - backward_warp(second, flow)[0]) for flow in flows]
        return torch.cat((first, *flows, *lengths, *errors), 1)


VARIANTS: dict[str, type[nn.Module]] = {
    each.__name__: each for each in (FlowNet2, FlowNet2C, FlowNet2S, FlowNet2SD, FlowNet2CS, FlowNet2CSS)
}


def normalize_pair(pair: Tensor) -> Tensor:
    """Both frames without the mean colour of the two together, over 255.

    Args:
        pair: (B, 3, 2, H, W) floating point, RGB 0..255.

    Returns:
        (B, 6, H, W): first frame, second frame.

    Raises:
        ValueError: the shape is another one, or a side is no multiple of 64.
    """
    if pair.ndim != 5 or pair.shape[1:3] != (3, 2) or any(side % MULTIPLE_PX for side in pair.shape[3:]):
        raise ValueError(
            f"pair has shape {tuple(pair.shape)}, expected (B, 3, 2, H, W) with H and W multiples of "
            f"{MULTIPLE_PX}; pad the frames by repeating their borders, or use build_estimator('flownet2')"
        )
    centred = (pair - pair.mean((2, 3, 4), keepdim=True)) / 255
    return centred.transpose(1, 2).flatten(1, 2)


def stack_with_warp(images: Tensor, flow: Tensor) -> Tensor:
    """The input of a refining FlowNetS: the frames, the second one warped, the flow, the remaining error.

    Args:
        images: (B, 6, H, W) of `normalize_pair`.
        flow: (B, 2, H, W) px.

    Returns:
        (B, 12, H, W).
    """
    first, second = images.split(3, 1)
    warped = backward_warp(second, flow)[0]
    return torch.cat((images, warped, flow / DIV_FLOW, channel_norm(first - warped)), 1)


def upsample(flow: Tensor, *, mode: str = "bilinear") -> Tensor:
    """(B, 2, h, w) px of the full size -> (B, 2, 4 h, 4 w)."""
    return F.interpolate(flow, scale_factor=4, mode=mode)


def channel_norm(values: Tensor) -> Tensor:
    """Euclidean length over the channels, (B, C, H, W) -> (B, 1, H, W).

    The gradient is values / (length + 1e-9). So it is 0 at the zero vector, where a square root's is NaN.
    """
    return _ChannelNorm.apply(values)


class _ChannelNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        length = values.square().sum(1, keepdim=True).sqrt_()
        ctx.save_for_backward(values, length)
        return length

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        values, length = ctx.saved_tensors
        return grads[0] * values / (length + 1e-9)


def _return_freed_memory(device: torch.device) -> None:
    """Return glibc's freed blocks under 32 MB before the widest layers: some 150 MiB at 512x1024."""
    if device.type == "cpu" and not torch.compiler.is_compiling():
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


def _finish(network: nn.Module, flows: Flows) -> Tensor | Flows:
    return flows if network.training else upsample(flows[0] * DIV_FLOW)
