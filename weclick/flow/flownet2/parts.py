"""The four networks that make up FlowNet2; see `networks`.

Each narrows its input by strides of 2, widens it again, and predicts a flow at every size. Flows are in units
of 20 px, (flow2, flow3, ..), with flow_n at 1 / 2^n of the input's size. Only the fusion works in px.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weclick.flow.flownet2.correlation import correlation

DIV_FLOW = 20.0
Flows = tuple[Tensor, ...]


class _Refining(nn.Module):
    """The widening side. It joins at each size the narrow features, the wider ones and the flow so far.

    `inter_conv` layers, if a net has them, have no activation.
    """

    def add_decoder(
        self, sizes: dict[int, tuple[int, int]], *, smooth: bool = False, upsampling_bias: bool = True
    ) -> None:
        """Make the layers, in the order of the published state dicts.

        Args:
            sizes: level -> channels of its features from the narrowing side, and of its deconvolution,
                coarsest level first. The coarsest level has no deconvolution.
            smooth: whether every flow except the first has an `inter_conv` before it.
            upsampling_bias: whether the layers that widen a flow have a bias.
        """
        levels = list(sizes)
        features = {level: sum(sizes[level]) + 2 * (level != levels[0]) for level in levels}
        half = {
            level: sizes[level][1] if smooth and level != levels[0] else features[level] for level in levels
        }
        for above, level in pairwise(levels):
            self.add_module(f"deconv{level}", _deconv(features[above], sizes[level][1]))
        for level in levels[1:] if smooth else ():
            inter = nn.Conv2d(features[level], half[level], 3, padding=1)
            self.add_module(f"inter_conv{level}", nn.Sequential(inter))
        for level in levels:
            self.add_module(f"predict_flow{level}", nn.Conv2d(half[level], 2, 3, padding=1))
        for above, level in pairwise(levels):
            widen = nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=upsampling_bias)
            self.add_module(f"upsampled_flow{above}_to_{level}", widen)
        self.levels, self.smooth = levels, smooth
        initialize(self)

    def decode(self, skips: dict[int, Tensor], begun: Tensor | None = None) -> Flows:
        """Widen, and predict a flow at every level.

        Args:
            skips: level -> features of the narrowing side, coarsest first; it is emptied.
            begun: what `begin` made from the finest level's features, in their place.

        Returns:
            Flows, finest first.
        """
        coarsest, *wider_levels = self.levels
        features = skips.pop(coarsest)
        flows = [self._in_float(f"predict_flow{coarsest}", features)]
        for level in wider_levels:
            flow = self._in_float(f"upsampled_flow{level + 1}_to_{level}", flows[-1])
            features = self._layer(f"deconv{level}")(features)
            started = None if level in skips else begun
            narrow = [skips.pop(level)] if level in skips else []
            features = torch.cat([*narrow, features, flow.to(features.dtype)], 1)
            del narrow
            smooth = self._smooth(level, features, started)
            flows.append(self._in_float(f"predict_flow{level}", smooth))
        return tuple(reversed(flows))

    def begin(self, skip: Tensor) -> Tensor:
        """Apply the finest level's `inter_conv` to the narrowing side: it takes a quarter of the memory."""
        conv = self._layer(f"inter_conv{self.levels[-1]}.0")
        return F.conv2d(skip, conv.weight[:, : skip.shape[1]], conv.bias, padding=1)

    def _smooth(self, level: int, features: Tensor, begun: Tensor | None) -> Tensor:
        if not self.smooth:
            return features
        if begun is None:
            return self._layer(f"inter_conv{level}")(features)
        weight = self._layer(f"inter_conv{level}.0").weight[:, -features.shape[1] :]
        return begun + F.conv2d(features, weight, padding=1)

    def _layer(self, name: str) -> Any:
        return self.get_submodule(name)

    def _in_float(self, layer: str, values: Tensor) -> Tensor:
        """A flow in float32, also under autocast: bfloat16 would round 100 px to the next half px."""
        module = self._layer(layer)
        with torch.autocast(values.device.type, enabled=False):
            return module(values.to(module.weight.dtype))


class _FlowNet(_Refining):
    """A net that gives flow2 .. flow6 of a pair."""

    def flows(self, images: Tensor, /) -> Flows:
        """Stacked frames -> flows, finest first."""
        raise NotImplementedError

    def forward(self, *given: Any) -> Tensor | Flows:
        """As `flows`."""
        return self.flows(*given)


class FlowNetC(_FlowNet):
    """Correlates the features that the same layers give of each frame. (B, 6, H, W) -> flow2 .. flow6."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64, 7, 2)
        self.conv2 = _conv(64, 128, 5, 2)
        self.conv3 = _conv(128, 256, 5, 2)
        self.conv_redir = _conv(256, 32, 1)
        self.conv3_1 = _conv(473, 256)
        _add_deep(self)
        self.add_decoder(LARGE)

    def flows(self, images: Tensor, both: bool = False) -> Flows:
        """(B, 6, H, W) of `normalize_pair` -> flow2 .. flow6; `both`: then as many flows the other way."""
        frames = torch.cat(images.split(3, 1))
        skip2 = self.conv2(self.conv1(frames))
        features = self.conv3(skip2)
        others = features.roll(len(images), 0)
        if not both:
            skip2, features, others = (each[: len(images)] for each in (skip2, features, others))
        alike = F.leaky_relu_(correlation(features, others), 0.1).to(features.dtype)
        skip3 = self.conv3_1(torch.cat((self.conv_redir(features), alike), 1))
        return self.decode(_deepen(self, {2: skip2, 3: skip3}))


class FlowNetS(_FlowNet):
    """Stacks the frames and what is known of their flow. (B, inputs, H, W) -> flow2 .. flow6."""

    def __init__(self, inputs: int = 12) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, 64, 7, 2)
        self.conv2 = _conv(64, 128, 5, 2)
        self.conv3 = _conv(128, 256, 5, 2)
        self.conv3_1 = _conv(256, 256)
        _add_deep(self)
        self.add_decoder(LARGE, upsampling_bias=False)

    def flows(self, images: Tensor) -> Flows:
        """(B, inputs, H, W) of `normalize_pair` or `stack_with_warp` -> flow2 .. flow6."""
        skip2 = self.conv2(self.conv1(images))
        return self.decode(_deepen(self, {2: skip2, 3: self.conv3_1(self.conv3(skip2))}))


class FlowNetSD(_FlowNet):
    """For small displacements: small kernels, and full size for longer. (B, 6, H, W) -> flow2 .. flow6."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = _conv(6, 64)
        self.conv1 = _conv(64, 64, stride=2)
        self.conv1_1 = _conv(64, 128)
        self.conv2 = _conv(128, 128, stride=2)
        self.conv2_1 = _conv(128, 128)
        self.conv3 = _conv(128, 256, stride=2)
        self.conv3_1 = _conv(256, 256)
        _add_deep(self)
        self.add_decoder(LARGE, smooth=True)

    def flows(self, images: Tensor) -> Flows:
        """(B, 6, H, W) of `normalize_pair` -> flow2 .. flow6."""
        skip2 = self.conv2_1(self.conv2(self.conv1_1(self.conv1(self.conv0(images)))))
        return self.decode(_deepen(self, {2: skip2, 3: self.conv3_1(self.conv3(skip2))}))


class FlowNetFusion(_Refining):
    """Fuses two flows by their lengths and remaining errors. (B, 11, H, W) -> (B, 2, H, W) px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = _conv(11, 64)
        self.conv1 = _conv(64, 64, stride=2)
        self.conv1_1 = _conv(64, 128)
        self.conv2 = _conv(128, 128, stride=2)
        self.conv2_1 = _conv(128, 128)
        self.add_decoder({2: (128, 0), 1: (128, 32), 0: (64, 16)}, smooth=True)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 11, H, W): first frame, small and large flow in px, their lengths, their errors."""
        return self.decode(*self._narrow(images))[0]

    def _narrow(self, images: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        full = self.conv0(images)
        half, begun = self.conv1(full), self.begin(full)
        del full
        half = self.conv1_1(half)
        return {2: self.conv2_1(self.conv2(half)), 1: half}, begun


LARGE = {6: (1024, 0), 5: (512, 512), 4: (512, 256), 3: (256, 128), 2: (128, 64)}
"""Level -> channels of the narrowing side and of the deconvolution, in FlowNetC, S and SD."""


def initialize(network: nn.Module) -> None:
    """Draw Xavier weights and biases from 0..1, as the published training does. Weights lie channels last.

    That order spares CPUs a copy of every layer's input, a third of the time, and suits tensor cores.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.uniform_(module.bias)
    network.to(memory_format=torch.channels_last)


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    return nn.Sequential(layer, nn.LeakyReLU(0.1, inplace=True))


def _deconv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.1, inplace=True))


def _add_deep(network: nn.Module) -> None:
    for level, inputs, outputs in ((4, 256, 512), (5, 512, 512), (6, 512, 1024)):
        network.add_module(f"conv{level}", _conv(inputs, outputs, stride=2))
        network.add_module(f"conv{level}_1", _conv(outputs, outputs))


def _deepen(network: nn.Module, skips: dict[int, Tensor]) -> dict[int, Tensor]:
    """Add the levels 4 to 6; the coarsest comes first."""
    for level in (4, 5, 6):
        layers: list[Any] = [network.get_submodule(name) for name in (f"conv{level}", f"conv{level}_1")]
        skips[level] = layers[1](layers[0](skips[level - 1]))
    return dict(sorted(skips.items(), reverse=True))
