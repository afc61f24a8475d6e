"""A network of relations: edges between cells, and the way of each to its object's centre (IRN, 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from weclick.models.backbones import Backbone
from weclick.models.levels import look_up_levels

STRIDE, COARSE_STRIDE = 4, 8


class Relation(nn.Module):
    """See `build_relation`.

    Both branches look at all levels of the backbone. The backbone does not learn: it stays in eval mode, and
    no gradient is computed for it.

    Keys of the state: `backbone.*` under the names of those who published it, `edge.*`, `displacement.*`, and
    `mean_shift` (2,), the mean of the displacements over the images of the training in cells. That is 0 until
    somebody measures it after a training. In eval mode it is taken away, so that displacements have no drift.

    Args:
        backbone: at an output stride of 16.

    Attributes:
        stride: input pixels per cell.
        inputs: see `SegmentationNetwork`.
        stack_length: it looks at no flow.
        faster_parts: beginning of a parameter's name -> the option of a training that says how much faster
            than the rest these learn. In IRN the displacement learns ten times as fast.
        edge, displacement: the branches.
        options: that it was built with.
    """

    stride = STRIDE
    inputs: tuple[str, ...] = ("target_images",)
    stack_length = 0
    faster_parts: Mapping[str, str] = MappingProxyType({"displacement.": "displacement_learning_rate_factor"})
    mean_shift: Tensor

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        levels = look_up_levels(backbone)
        self.edge, self.displacement = _Edge(levels), _Displacement(levels)
        self.register_buffer("mean_shift", torch.zeros(2))
        self.options: dict[str, Any] = {}
        self.train(self.training)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Edges and displacements of images of any size.

        Args:
            images: (B, 3, H, W) ImageNet-normalised.

        Returns:
            Logits of edges (B, 1, ceil(H/4), ceil(W/4)), and displacements (B, 2, ..), (dy, dx) cells.
        """
        with torch.no_grad():
            levels = list(self.backbone.levels(images))
        height, width = (-(-side // STRIDE) for side in images.shape[-2:])
        edge, moved = self.edge(levels, height, width), self.displacement(levels, height, width)
        return edge, moved if self.training else moved - self.mean_shift.view(1, 2, 1, 1)

    def drop_auxiliary(self) -> None:
        """Nothing in it serves the training alone."""

    def train(self, mode: bool = True) -> Relation:
        """As for any module, but the backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self


class _Edge(nn.Module):
    """Every level to 32 channels at stride 4; a 1x1 convolution makes one logit of all."""

    def __init__(self, levels: Sequence[tuple[int, int]]):
        super().__init__()
        self.levels = nn.ModuleList(_reduced(channels, 32, 4, stride, STRIDE) for channels, stride in levels)
        self.logit = nn.Conv2d(32 * len(levels), 1, 1)

    def forward(self, levels: Sequence[Tensor], height: int, width: int) -> Tensor:
        found = [part(level) for part, level in zip(self.levels, levels, strict=True)]
        return self.logit(_joined(found, height, width))


class _Displacement(nn.Module):
    """Levels down to stride 4 stay fine. The others meet at stride 8, and join them as one."""

    def __init__(self, levels: Sequence[tuple[int, int]]):
        super().__init__()
        fine = [level for level in levels if level[1] <= STRIDE]
        coarse = levels[len(fine) :]
        widths = [64, *[128] * (len(fine) - 1)]
        self.fine = nn.ModuleList(
            _reduced(channels, width, width // 8, stride, STRIDE)
            for (channels, stride), width in zip(fine, widths, strict=True)
        )
        self.coarse = nn.ModuleList(
            _reduced(channels, 256, 16, stride, COARSE_STRIDE) for channels, stride in coarse
        )
        self.join = _reduced(256 * len(coarse), 256, 16, COARSE_STRIDE, STRIDE)
        self.vector = nn.Sequential(
            _reduced(sum(widths) + 256, 256, 16, STRIDE, STRIDE), nn.Conv2d(256, 2, 1, bias=False)
        )

    def forward(self, levels: Sequence[Tensor], height: int, width: int) -> Tensor:
        found = [part(level) for part, level in zip([*self.fine, *self.coarse], levels, strict=True)]
        fine, coarse = found[: len(self.fine)], found[len(self.fine) :]
        joined = self.join(_joined(coarse, -(-height // 2), -(-width // 2)))
        return self.vector(_joined([*fine, joined], height, width))


def _reduced(channels_in: int, channels_out: int, groups: int, stride: int, wanted: int) -> nn.Sequential:
    """1x1 convolution, group norm, another stride, ReLU. As in the public code, ReLU comes last."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.GroupNorm(groups, channels_out),
        _resized(stride, wanted),
        nn.ReLU(inplace=True),
    )


def _resized(stride: int, wanted: int) -> nn.Module:
    if stride > wanted:
        return nn.Upsample(scale_factor=stride // wanted, mode="bilinear", align_corners=False)
    if stride < wanted:  # no level of a ResNet
        return nn.AvgPool2d(wanted // stride, ceil_mode=True, count_include_pad=False)
    return nn.Identity()


def _joined(levels: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Levels beside each other. What lies beyond the image's last cell is cut off."""
    return torch.cat([level[..., :height, :width] for level in levels], 1)
