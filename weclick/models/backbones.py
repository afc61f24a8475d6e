"""Feature extractors from torchvision, under its key names, with strides traded for dilation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torchvision.models as tv
from torch import Tensor, nn

BATCH_NORMS = ("train", "frozen", "sync")


class Backbone(nn.Module):
    """Features at three depths.

    Attributes:
        low_channels: C1 of the low-level features, at stride 4.
        middle_channels: C2 of the middle features, before the last stage that would halve the size undilated.
        channels: C3 of the deepest features.
        stride: of the deepest features, in input pixels.
    """

    low_channels: int
    middle_channels: int
    channels: int
    stride: int
    _frozen = False

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) -> low (B, C1, ceil(H/4), ceil(W/4)), middle (B, C2, ..), deep (B, C3, ..).

        Deep is at the stride, (ceil(H/stride), ceil(W/stride)); middle is as large, or twice as large.
        """
        raise NotImplementedError

    def set_batch_norm(self, how: str) -> None:
        """Fix the statistics and affine weights of batch norm from now on (frozen), or free them."""
        if how not in BATCH_NORMS:
            raise ValueError(f"batch_norm is {how!r}, expected one of {', '.join(BATCH_NORMS)}")
        self._frozen = how == "frozen"
        for norm in self._norms():
            norm.requires_grad_(not self._frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """As for any module, but frozen batch norm stays in eval mode."""
        super().train(mode)
        if self._frozen:
            for norm in self._norms():
                norm.eval()
        return self

    def share_statistics(self) -> None:
        """Let batch norm see the batch of all GPUs from now on, in place and under the same keys."""
        nn.SyncBatchNorm.convert_sync_batchnorm(self)

    def _norms(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]


class ResNetBackbone(Backbone):
    """A torchvision ResNet without its classifier."""

    def __init__(self, constructor: Callable[[], tv.ResNet], output_stride: int):
        super().__init__()
        net = constructor()
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        self.low_channels = _out_channels(self.layer1)
        self.middle_channels = _out_channels(self.layer3)
        self.channels = _out_channels(self.layer4)
        self.stride = dilate([self.layer3, self.layer4], 32, output_stride)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Backbone`."""
        low = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        middle = self.layer3(self.layer2(low))
        return low, middle, self.layer4(middle)


class MobileNetV2Backbone(Backbone):
    """The feature blocks of torchvision's MobileNetV2, the first `blocks` of its 19."""

    LOW_BLOCKS = 4  # features[3] is the last block at stride 4

    def __init__(self, blocks: int, output_stride: int):
        super().__init__()
        self.features = tv.mobilenet_v2().features[:blocks]
        halving = [i for i, block in enumerate(self.features) if _halves(block) and i >= self.LOW_BLOCKS]
        self.middle_blocks = halving[-1]
        self.low_channels = _out_channels(self.features[: self.LOW_BLOCKS])
        self.middle_channels = _out_channels(self.features[: self.middle_blocks])
        self.channels = _out_channels(self.features)
        stages = [self.features[i:j] for i, j in zip(halving, [*halving[1:], None], strict=True)]
        self.stride = dilate(stages, 4 * 2 ** len(stages), output_stride)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Backbone`."""
        low = self.features[: self.LOW_BLOCKS](images)
        middle = self.features[self.LOW_BLOCKS : self.middle_blocks](low)
        return low, middle, self.features[self.middle_blocks :](middle)


BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "resnet18": partial(ResNetBackbone, tv.resnet18),
    "resnet34": partial(ResNetBackbone, tv.resnet34),
    "resnet50": partial(ResNetBackbone, tv.resnet50),
    "resnet101": partial(ResNetBackbone, tv.resnet101),
    "mobilenetv2": partial(MobileNetV2Backbone, 19),
    "mobilenetv2_compact": partial(MobileNetV2Backbone, 9),
}
"""Name -> what builds the backbone for an output stride."""


def dilate(stages: Sequence[nn.Module], native: int, output_stride: int) -> int:
    """Trade the strides of the last stages for dilation, in place.

    Args:
        stages: each halves the resolution once, in order.
        native: output stride of the last stage before the change, px.
        output_stride: wanted, px.

    Returns:
        The output stride.

    Raises:
        ValueError: the stages cannot give that stride.
    """
    possible = [native // 2**n for n in range(len(stages) + 1)]
    if output_stride not in possible:
        raise ValueError(f"output_stride is {output_stride}, expected one of {possible} for this backbone")
    dilation = 1
    for stage in stages[len(stages) - possible.index(output_stride) :]:
        dilation *= 2
        for conv in _convolutions(stage):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (dilation, dilation)
    return output_stride


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def _halves(module: nn.Module) -> bool:
    return any(conv.stride == (2, 2) for conv in _convolutions(module))


def _out_channels(module: nn.Module) -> int:
    """Channels after the last convolution; the shortcut of a ResNet stage has as many."""
    return _convolutions(module)[-1].out_channels
