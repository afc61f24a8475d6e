"""Which classes an image shows, and where: maps whose means are the scores (Zhou et al. 2016)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import conv2d

from weclick.models.backbones import Backbone
from weclick.models.layers import init_xavier
from weclick.models.network import SegmentationNetwork


class Classifier(SegmentationNetwork):
    """See `build_classifier`. A map of each class on the grid of the backbone's deepest features.

    The last layer is a 1x1 convolution, which commutes with global average pooling. So a class's map without
    its bias is its class activation map, and the mean of its map is the logit of its score.

    Class 0 has a map, so that an index is a class id. Where class 0 is background, nobody trains or reads it.

    Args:
        backbone: gives the deep features.
        num_classes: K.
        hidden: channels of two 3x3 convolutions before the maps, as in F2F (Lee et al. 2019); 0: none.
        dropout: rate at which whole channels are dropped while training: after each of these convolutions, or
            of the backbone's features.
        freeze: the backbone does not learn. It stays in eval mode, and no gradient is computed for it.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        hidden: int = 0,
        dropout: float = 0.5,
        freeze: bool = False,
    ):
        super().__init__(backbone, num_classes)
        self.stride, self.freeze = backbone.stride, freeze
        widths = [backbone.channels, *[hidden] * 2] if hidden else []
        layers = [_hidden(*both, dropout) for both in pairwise(widths)]
        self.hidden = nn.Sequential(*layers) if hidden else nn.Sequential(nn.Dropout2d(dropout))
        self.classifier = nn.Conv2d(hidden or backbone.channels, num_classes, 1)
        init_xavier(self.hidden, self.classifier)
        if freeze:
            backbone.requires_grad_(False)
        self.train(self.training)

    def head(self, low: Tensor, deep: Tensor) -> Tensor:
        """Features (see `Backbone`) -> maps (B, K, ceil(H/stride), ceil(W/stride)), with their bias.

        The mean of a map over its cells is the logit of the class's score.
        """
        return self.classifier(self.hidden(deep))

    def class_maps(self, images: Tensor) -> Tensor:
        """The maps of `forward` without their bias: class activation maps before their ReLU."""
        _, _, deep = self.backbone(images)
        return conv2d(self.hidden(deep), self.classifier.weight)

    def train(self, mode: bool = True) -> Classifier:
        """As for any module, but a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.freeze:
            self.backbone.eval()
        return self


def _hidden(channels_in: int, channels_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout2d(dropout)
    )
