"""The base of all networks: a backbone, a head, and perhaps an auxiliary head for training."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from weclick.models.backbones import Backbone


class SegmentationNetwork(nn.Module):
    """Logits of an image. Subclasses set `stride` and say what `head` makes of the features.

    Keys of the state: `backbone.*` under torchvision's names, the head's own, and `auxiliary.*`.

    Attributes:
        stride: input pixels per logit.
        num_classes: K.
        inputs: the fields of a batch that `forward` takes, in order. A training asks for them by name.
        stack_length: L of the flows that it looks at beside an image; 0: it looks at images alone.
        options: arguments of `rebuild` that build the same structure again.
        auxiliary: on the middle features, (B, C, h, w) -> (B, K, h, w); or None.
    """

    stride: int
    inputs: tuple[str, ...] = ("images",)
    stack_length: int = 0

    def __init__(self, backbone: Backbone, num_classes: int):
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.options: dict[str, Any] = {}
        self.auxiliary: nn.Sequential | None = None

    def head(self, low: Tensor, deep: Tensor) -> Tensor:
        """Features (see `Backbone`) -> logits (B, K, ceil(H/stride), ceil(W/stride))."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, 3, H, W) ImageNet-normalised -> logits (B, K, ceil(H/stride), ceil(W/stride)).

        In training mode, a network with an auxiliary head gives (logits, auxiliary logits), the latter on
        the grid of the middle features.
        """
        low, middle, deep = self.backbone(images)
        return self._with_auxiliary(self.head(low, deep), middle)

    def _with_auxiliary(self, logits: Tensor, middle: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.auxiliary is None or not self.training:
            return logits
        return logits, self.auxiliary(middle)

    def drop_auxiliary(self) -> None:
        """Forget the auxiliary head, if there is one, and say so in `options`. Inference does not use it."""
        if self.auxiliary is not None:
            self.auxiliary = None
            self.options = {**self.options, "auxiliary_head": False}
