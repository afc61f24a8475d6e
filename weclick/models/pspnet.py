"""PSPNet (Zhao et al. 2017): pyramid pooling over the deepest features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from weclick.models.backbones import Backbone
from weclick.models.layers import DropoutOption, conv_norm_relu, init_xavier, make_dropout
from weclick.models.network import SegmentationNetwork

BINS = (1, 2, 3, 6)


class PSPNet(SegmentationNetwork):
    """See `build_model`.

    Each of the four pooled branches has a quarter of the features' channels; a 3x3 convolution brings them
    and the features themselves to 256, or 512 for the widest backbones: R18 512 + 4 x 128 -> 256, MobileNetV2
    1280 + 4 x 320 -> 256, R101 2048 + 4 x 512 -> 512.

    Args:
        backbone: gives the deep features.
        num_classes: K.
        channels: 256 is the published size, less makes the head narrower in proportion.
        norm: of the head, batch or group.
        dropout: before the classifier; published: 0.1.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        channels: int = 256,
        norm: str = "batch",
        dropout: DropoutOption = None,
    ):
        super().__init__(backbone, num_classes)
        self.stride = backbone.stride
        width = backbone.channels
        branch = max(2, width // 4 * channels // 256)
        wide = (512 if width >= 2048 else 256) * channels // 256
        self.branches = nn.ModuleList(conv_norm_relu(width, branch, 1, norm=norm) for _ in BINS)
        self.bottleneck = conv_norm_relu(width + len(BINS) * branch, wide, 3, norm=norm)
        self.dropout = make_dropout(dropout, 0.1)
        self.classifier = nn.Conv2d(wide, num_classes, 1)
        init_xavier(self.branches, self.bottleneck, self.classifier)

    def head(self, low: Tensor, deep: Tensor) -> Tensor:
        """See `SegmentationNetwork`; the low-level features are not used."""
        pooled = [
            interpolate(
                branch(adaptive_avg_pool2d(deep, size)),
                size=deep.shape[-2:],
                mode="bilinear",
                align_corners=False,
            )
            for size, branch in zip(BINS, self.branches, strict=True)
        ]
        return self.classifier(self.dropout(self.bottleneck(torch.cat([deep, *pooled], 1))))
