"""Parts that the heads share."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

HEAD_NORMS = ("batch", "group")

DropoutOption = bool | float | None
"""Rate of a head's dropout: None or True as published, False none, a number at every place."""


def conv_norm_relu(
    channels_in: int, channels_out: int, kernel: int, *, norm: str, dilation: int = 1
) -> nn.Sequential:
    """Convolution without bias that keeps the size, batch or group norm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False),
        make_norm(norm, channels_out),
        nn.ReLU(inplace=True),
    )


def make_norm(norm: str, channels: int) -> nn.Module:
    """Batch norm, or group norm (Wu and He 2018) in groups of eight channels (one group if 8 do not fit)."""
    check_name("head_norm", norm, HEAD_NORMS)
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(1 if channels % 8 else channels // 8, channels)


def make_dropout(setting: DropoutOption, published: float) -> nn.Dropout:
    """Dropout for a place in the head where the published network has the rate `published`.

    Raises:
        ValueError: the rate is not in [0, 1).
    """
    if setting is None or isinstance(setting, bool):
        return nn.Dropout(0.0 if setting is False else published)
    if not 0 <= setting < 1:
        raise ValueError(
            f"dropout is {setting!r}, expected a rate from 0 to below 1, or None for those of the publication"
        )
    return nn.Dropout(float(setting))


def fcn_head(channels_in: int, num_classes: int, *, norm: str, dropout: DropoutOption) -> nn.Sequential:
    """A small FCN head, like PSPNet's auxiliary one (Zhao et al. 2017, Sec. 3.3) and torchvision's.

    3x3 to a quarter of the channels, norm, ReLU, dropout (published: 0.1), 1x1: (B, C, h, w) -> logits
    (B, K, h, w).
    """
    middle = channels_in // 4
    head = nn.Sequential(
        conv_norm_relu(channels_in, middle, 3, norm=norm),
        make_dropout(dropout, 0.1),
        nn.Conv2d(middle, num_classes, 1),
    )
    init_xavier(head)
    return head


def init_xavier(*modules: nn.Module) -> None:
    """Xavier weights for the convolutions of a head (paper, Sec. 4.2); norms begin as the identity."""
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.xavier_normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)


def check_name(what: str, name: str, known: Collection[str]) -> None:
    """Raises ValueError unless a name is one of those that are known."""
    if name not in known:
        raise ValueError(f"{what} is {name!r}, expected one of {', '.join(known)}")
