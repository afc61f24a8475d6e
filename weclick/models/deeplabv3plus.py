"""DeepLabV3+ (Chen et al. 2018): atrous spatial pyramid pooling and a decoder at stride 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from weclick.models.backbones import Backbone
from weclick.models.layers import DropoutOption, conv_norm_relu, init_xavier, make_dropout
from weclick.models.network import SegmentationNetwork


class ASPP(nn.Module):
    """1x1, three dilated 3x3, and image pooling, concatenated and projected."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        rates: tuple[int, int, int],
        *,
        norm: str,
        dropout: DropoutOption,
    ):
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_norm_relu(channels_in, channels, 1, norm=norm)]
            + [conv_norm_relu(channels_in, channels, 3, norm=norm, dilation=rate) for rate in rates]
        )
        self.pooled = conv_norm_relu(channels_in, channels, 1, norm=norm)
        self.project = nn.Sequential(
            conv_norm_relu(5 * channels, channels, 1, norm=norm), make_dropout(dropout, 0.5)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, channels, h, w)."""
        pooled = self.pooled(adaptive_avg_pool2d(features, 1)).expand(-1, -1, *features.shape[-2:])
        return self.project(torch.cat([*(branch(features) for branch in self.branches), pooled], 1))


class DeepLabV3Plus(SegmentationNetwork):
    """See `build_model`.

    Args:
        backbone: gives low-level features at stride 4 and deep ones.
        num_classes: K.
        channels: width of ASPP and decoder; the low-level projection takes 48 of 256 of it.
        norm: of the head, batch or group.
        dropout: after ASPP and the first decoder layer (published: 0.5) and before the classifier (0.1).
    """

    stride = 4

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
        low = max(1, round(channels * 48 / 256))
        near, middle, far = (rate * 16 // backbone.stride for rate in (6, 12, 18))
        self.aspp = ASPP(backbone.channels, channels, (near, middle, far), norm=norm, dropout=dropout)
        self.low_level = conv_norm_relu(backbone.low_channels, low, 1, norm=norm)
        self.decoder = nn.Sequential(
            conv_norm_relu(channels + low, channels, 3, norm=norm),
            make_dropout(dropout, 0.5),
            conv_norm_relu(channels, channels, 3, norm=norm),
            make_dropout(dropout, 0.1),
        )
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        init_xavier(self.aspp, self.low_level, self.decoder, self.classifier)

    def head(self, low: Tensor, deep: Tensor) -> Tensor:
        """See `SegmentationNetwork`."""
        deep = interpolate(self.aspp(deep), size=low.shape[-2:], mode="bilinear", align_corners=False)
        return self.classifier(self.decoder(torch.cat([deep, self.low_level(low)], 1)))
