"""Feature extractors under the key names of those who published them, with strides traded for dilation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import cast

import torchvision.models as tv
from torch import Tensor, nn
from torch.nn.functional import relu6
from torchvision.models.vgg import cfgs, make_layers

from weclick.models.efficientnet_lite import EfficientNetLite0, dilate_depthwise, to_own_input

BATCH_NORMS = ("train", "frozen", "sync")


class Backbone(nn.Module):
    """Features at three depths.

    Attributes:
        low_channels: C1 of the low-level features, at stride 4.
        middle_channels: C2 of the middle features, before the last stage that would halve the size undilated.
        channels: C3 of the deepest features.
        stride: of the deepest features, in input pixels.
        picked: which of the `levels` are the low, the middle and the deepest features.
        looks_at_flow: it takes stacks of flow in the place of images, see `weclick.models.two_stream`.
    """

    low_channels: int
    middle_channels: int
    channels: int
    stride: int
    picked: tuple[int, int, int]
    looks_at_flow = False
    _frozen = False

    def levels(self, images: Tensor) -> Iterator[Tensor]:
        """(B, 3, H, W) -> features of all stages, from low to deep, each (B, C, ceil(H/s), ceil(W/s))."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) -> low (B, C1, ceil(H/4), ceil(W/4)), middle (B, C2, ..), deep (B, C3, ..).

        Deep is at the stride, (ceil(H/stride), ceil(W/stride)); middle is as large, or twice as large.
        """
        kept = {i: level for i, level in enumerate(self.levels(images)) if i in self.picked}
        low, middle, deep = (kept[i] for i in self.picked)
        return low, middle, deep

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
    """A torchvision ResNet without its classifier.

    Levels: the first convolution after its pooling, then the four layers.
    """

    picked = 1, 3, 4

    def __init__(self, constructor: Callable[[], tv.ResNet], output_stride: int):
        super().__init__()
        net = constructor()
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        self.low_channels = _out_channels(self.layer1)
        self.middle_channels = _out_channels(self.layer3)
        self.channels = _out_channels(self.layer4)
        self.stride = dilate([self.layer3, self.layer4], 32, output_stride)

    def levels(self, images: Tensor) -> Iterator[Tensor]:
        """See `Backbone`."""
        yield (features := self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            yield (features := layer(features))


class MobileNetV2Backbone(Backbone):
    """The feature blocks of torchvision's MobileNetV2, the first `blocks` of its 19.

    Levels: the blocks at stride 2, at stride 4, and so on.
    """

    FIRST_BLOCKS, LOW_BLOCKS = 2, 4  # features[3] is the last block at stride 4

    def __init__(self, blocks: int, output_stride: int):
        super().__init__()
        self.features = tv.mobilenet_v2().features[:blocks]
        halving = [i for i, block in enumerate(self.features) if _halves(block) and i >= self.LOW_BLOCKS]
        self.level_ends = (self.FIRST_BLOCKS, *halving, blocks)
        self.picked = 1, len(halving), len(halving) + 1
        self.low_channels = _out_channels(self.features[: self.LOW_BLOCKS])
        self.middle_channels = _out_channels(self.features[: halving[-1]])
        self.channels = _out_channels(self.features)
        stages = [self.features[i:j] for i, j in zip(halving, [*halving[1:], None], strict=True)]
        self.stride = dilate(stages, 4 * 2 ** len(stages), output_stride)

    def levels(self, images: Tensor) -> Iterator[Tensor]:
        """See `Backbone`."""
        features = images
        for first, end in pairwise((0, *self.level_ends)):
            yield (features := self.features[first:end](features))


class VGG16Backbone(Backbone):
    """torchvision's VGG16 up to its last convolution, without batch norm.

    Levels: the five groups of convolutions. The last pooling is dropped, so the output stride is 16. At 8 the
    pooling before the last group keeps the size and the group is dilated by 2, as in F2F (Lee et al. 2019):
    every second cell then is that of stride 16. Poolings round sizes up, which changes nothing on even ones.
    """

    picked = 2, 3, 4
    POOLINGS = (4, 9, 16, 23)  # a pooling is the first part of its group

    def __init__(self, output_stride: int):
        super().__init__()
        if output_stride not in (16, 8):
            raise ValueError(f"output_stride is {output_stride}, expected one of [16, 8] for this backbone")
        self.features = make_layers(cfgs["D"])[:-1]  # its classifier has 124 million weights, so leave that
        for conv in _convolutions(self.features):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(cast("Tensor", conv.bias))
        for i in self.POOLINGS:
            self.features[i] = nn.MaxPool2d(2, ceil_mode=True)
        if output_stride == 8:
            last = self.POOLINGS[-1]
            # what a ReLU gives is not negative, so zeros beside it do not change a maximum
            self.features[last] = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, stride=1))
            for conv in _convolutions(self.features[last:]):
                conv.dilation = conv.padding = (2, 2)
        self.low_channels, self.middle_channels, self.channels = 256, 512, 512
        self.stride = output_stride

    def levels(self, images: Tensor) -> Iterator[Tensor]:
        """See `Backbone`."""
        features = images
        for first, end in pairwise((0, *self.POOLINGS, len(self.features))):
            yield (features := self.features[first:end](features))


class EfficientNetLite0Backbone(Backbone):
    """EfficientNet-Lite0 under timm's key names, without its classifier.

    Its deepest features are those that the classifier averages. Where a stride is traded for dilation, the
    convolution that lost it is dilated no more than those before it, as timm does it.

    Levels: the stages at stride 2, at stride 4, and so on; the head is of the last level.
    """

    picked = 1, 3, 4
    LEVEL_ENDS = (1, 2, 3, 5, 7)

    def __init__(self, output_stride: int):
        super().__init__()
        net = EfficientNetLite0()
        self.conv_stem, self.bn1, self.blocks = net.conv_stem, net.bn1, net.blocks
        self.conv_head, self.bn2 = net.conv_head, net.bn2
        levels = [self.blocks[first:end] for first, end in pairwise((0, *self.LEVEL_ENDS))]
        self.low_channels, self.middle_channels = _out_channels(levels[1]), _out_channels(levels[3])
        self.channels = _out_channels(self.conv_head)
        self.stride = dilate(levels[2:], 32, output_stride)
        dilate_depthwise(levels[2:])

    def levels(self, images: Tensor) -> Iterator[Tensor]:
        """See `Backbone`."""
        own = images if self.looks_at_flow else to_own_input(images)
        features = relu6(self.bn1(self.conv_stem(own)))
        for first, end in pairwise((0, *self.LEVEL_ENDS[:-1])):
            yield (features := self.blocks[first:end](features))
        features = self.blocks[self.LEVEL_ENDS[-2] :](features)
        yield relu6(self.bn2(self.conv_head(features)))


BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "resnet18": partial(ResNetBackbone, tv.resnet18),
    "resnet34": partial(ResNetBackbone, tv.resnet34),
    "resnet50": partial(ResNetBackbone, tv.resnet50),
    "resnet101": partial(ResNetBackbone, tv.resnet101),
    "mobilenetv2": partial(MobileNetV2Backbone, 19),
    "mobilenetv2_compact": partial(MobileNetV2Backbone, 9),
    "vgg16": VGG16Backbone,
    "efficientnet_lite0": EfficientNetLite0Backbone,
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
