"""EfficientNet-Lite0 up to its pooling, under timm's key names (`tf_efficientnet_lite0`), without timm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import relu6

from weclick.models.normalize import IMAGENET_MEAN, IMAGENET_STD
from weclick.models.same_padding import SameConv

OWN_MEAN, OWN_STD = 127.0, 128.0
"""The network's own input is (RGB - 127) / 128, RGB 0..255."""

STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Expansion, kernel, stride, channels and blocks of each stage (Tan and Le 2019, table 1)."""

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280


class EfficientNetLite0(nn.Module):
    """EfficientNet-B0 with ReLU6 and without squeeze-and-excitation. Its parts are called one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM_CHANNELS, 3, stride=2, bias=False)
        self.bn1 = _norm(STEM_CHANNELS)
        widths = (STEM_CHANNELS, *(stage[3] for stage in STAGES))
        stages = zip(widths[:-1], STAGES, strict=True)
        self.blocks = nn.Sequential(*(_stage(width, *numbers) for width, numbers in stages))
        self.conv_head = nn.Conv2d(widths[-1], HEAD_CHANNELS, 1, bias=False)
        self.bn2 = _norm(HEAD_CHANNELS)


class _Block(nn.Module):
    """An inverted residual: 1x1 to the expanded width (not at expansion 1), depthwise, 1x1 without ReLU."""

    def __init__(self, channels_in: int, channels: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        width = expansion * channels_in
        layers = {
            "conv_dw": _depthwise(width, kernel, stride),
            "conv_pw" if expansion == 1 else "conv_pwl": nn.Conv2d(width, channels, 1, bias=False),
        }
        if expansion > 1:
            layers = {"conv_pw": nn.Conv2d(channels_in, width, 1, bias=False), **layers}
        self.layers = [(name, f"bn{number}") for number, name in enumerate(layers, 1)]
        for (name, norm), conv in zip(self.layers, layers.values(), strict=True):
            self.add_module(name, conv)
            self.add_module(norm, _norm(conv.out_channels))
        self.skips = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', ceil(h/stride), ceil(w/stride))."""
        out = x
        for conv, norm in self.layers:
            out = getattr(self, norm)(getattr(self, conv)(out))
            if (conv, norm) != self.layers[-1]:
                out = relu6(out)
        return out + x if self.skips else out


def _stage(
    channels_in: int, expansion: int, kernel: int, stride: int, channels: int, blocks: int
) -> nn.Sequential:
    """Blocks of one width; the first may halve the size."""
    first = _Block(channels_in, channels, expansion, kernel, stride)
    others = (_Block(channels, channels, expansion, kernel, 1) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


def _depthwise(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    """At stride 1, TensorFlow's padding is the usual one, which costs no copy."""
    if stride == 1:
        return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
    return SameConv(channels, channels, kernel, stride=stride, groups=channels, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def to_own_input(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) normalised with ImageNet's mean and standard deviation, as this network's input."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return images * (std * 255 / OWN_STD) + (mean * 255 - OWN_MEAN) / OWN_STD


def dilate_depthwise(stages: Sequence[nn.Module]) -> None:
    """Dilate what follows a convolution that lost its stride, in place, but not the convolution itself.

    So the network gives the same features as before, on a finer grid.

    Args:
        stages: each halved the size with its first depthwise convolution; the last ones lost that stride.
    """
    dilation = 1
    for stage in stages:
        depthwise = [conv for conv in stage.modules() if isinstance(conv, nn.Conv2d) and conv.groups > 1]
        for position, conv in enumerate(depthwise):
            conv.dilation = (dilation, dilation)
            conv.padding = tuple(dilation * (side // 2) for side in conv.kernel_size)
            if position == 0 and conv.stride == (1, 1):
                dilation *= 2
