"""Two streams: one looks at the frame, one at the flow around it (Saleh et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weclick.models.backbones import Backbone
from weclick.models.layers import DropoutOption, check_name, conv_norm_relu, init_xavier, make_dropout
from weclick.models.network import SegmentationNetwork

FUSIONS = ("early", "late", "none")
LATE_FUSIONS = ("sum", "concat_conv")


class TwoStream(SegmentationNetwork):
    """See `build_model`.

    Two heads give a score map each, on the grid of the deepest features. One looks at the appearance. The
    other looks at both streams (early fusion: they are concatenated, and a 1x1 convolution brings them back
    to the backbone's width), or at the motion alone (late fusion). Without fusion there is one stream and one
    head, to compare with.

    Keys of the state: `backbone.*` (appearance) and `motion.*` under the names of those who published the
    backbone, `fuse.*`, `heads.*`, `merge.*` and `auxiliary.*`.

    Args:
        backbone: looks at images.
        motion: looks at stacks of flow, see `look_at_flow`; else it is the same. None with fusion none.
        num_classes: K.
        stack_length: L, flows in a stack; 0 with fusion none.
        fusion: early, late or none.
        late_fusion: how the two score maps become one: their sum, or a 1x1 convolution of both.
        channels: width of both heads.
        norm: of the heads and the fusion, batch or group.
        dropout: after both hidden layers of a head (published: 0.5, as VGG16's).

    Raises:
        ValueError: for an unknown name.
    """

    def __init__(
        self,
        backbone: Backbone,
        motion: Backbone | None,
        num_classes: int,
        *,
        stack_length: int = 10,
        fusion: str = "early",
        late_fusion: str = "sum",
        channels: int = 256,
        norm: str = "batch",
        dropout: DropoutOption = None,
    ):
        super().__init__(backbone, num_classes)
        check_name("fusion", fusion, FUSIONS)
        check_name("late_fusion", late_fusion, LATE_FUSIONS)
        self.motion, self.stack_length, self.stride = motion, stack_length, backbone.stride
        self.inputs = ("images",) if motion is None else ("images", "stack")
        width = backbone.channels
        self.fuse = conv_norm_relu(2 * width, width, 1, norm=norm) if fusion == "early" else None
        second = {"early": ["fused"], "late": ["motion"], "none": []}
        names = ("appearance", *second[fusion])
        self.heads = nn.ModuleDict(
            {name: _head(width, channels, num_classes, norm=norm, dropout=dropout) for name in names}
        )
        joined = motion is not None and late_fusion == "concat_conv"
        self.merge = nn.Conv2d(2 * num_classes, num_classes, 1) if joined else None
        init_xavier(*(part for part in (self.fuse, self.heads, self.merge) if part is not None))

    def forward(self, images: Tensor, stack: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """An image and the flows around it -> logits.

        Args:
            images: (B, 3, H, W) ImageNet-normalised.
            stack: (B, 2L, H, W), u and v of each flow, in the order and scale of the training. None with
                fusion none.

        Returns:
            (B, K, ceil(H/stride), ceil(W/stride)); with auxiliary logits as in `SegmentationNetwork`.

        Raises:
            ValueError: the stack is missing, or of another shape.
        """
        self._check_stack(images, stack)
        _, middle, seen = self.backbone(images)
        if self.motion is None:
            return self._with_auxiliary(self.heads["appearance"](seen), middle)
        *_, moved = self.motion(stack)
        other = moved if self.fuse is None else self.fuse(torch.cat([seen, moved], 1))
        appearance, second = (
            head(features) for head, features in zip(self.heads.values(), (seen, other), strict=True)
        )
        if self.merge is None:
            return self._with_auxiliary(appearance + second, middle)
        return self._with_auxiliary(self.merge(torch.cat([appearance, second], 1)), middle)

    def _check_stack(self, images: Tensor, stack: Tensor | None) -> None:
        if self.motion is None and stack is None:
            return
        batch, _, height, width = images.shape  # len() would fix the batch size of an exported graph
        expected = (batch, 2 * self.stack_length, height, width)
        if stack is None or tuple(stack.shape) != expected:
            found = "missing" if stack is None else f"of shape {tuple(stack.shape)}"
            raise ValueError(
                f"stack is {found}, expected {expected} (B, 2L, H, W): u and v of the {self.stack_length} "
                "flows around each image"
            )


def look_at_flow(backbone: Backbone, stack_length: int) -> Backbone:
    """Let a backbone take stacks of flow (B, 2L, H, W) in the place of images, in place.

    Each of its first convolution's 2L channels gets the mean of the three that look at colour, times 3/(2L).
    So a stack whose channels are all equal gives what a grey image of that value would. The bias stays.

    Args:
        backbone: that looks at images. If it brings these to an input of its own, it no longer does.
        stack_length: L.

    Raises:
        ValueError: L is not a number from 1.
    """
    if type(stack_length) is not int or stack_length < 1:
        raise ValueError(f"stack_length is {stack_length!r}, expected a number of flows from 1")
    first = next(part for part in backbone.modules() if isinstance(part, nn.Conv2d))
    channels = 2 * stack_length
    grey = first.weight.detach().mean(1, keepdim=True)
    first.weight = nn.Parameter(grey.repeat(1, channels, 1, 1) * (3 / channels))
    first.in_channels, backbone.looks_at_flow = channels, True
    return backbone


def _head(
    channels_in: int, channels: int, num_classes: int, *, norm: str, dropout: DropoutOption
) -> nn.Sequential:
    """VGG16's three last layers as convolutions, in small: (B, C, h, w) -> (B, K, h, w)."""
    return nn.Sequential(
        conv_norm_relu(channels_in, channels, 3, norm=norm),
        make_dropout(dropout, 0.5),
        conv_norm_relu(channels, channels, 1, norm=norm),
        make_dropout(dropout, 0.5),
        nn.Conv2d(channels, num_classes, 1),
    )
