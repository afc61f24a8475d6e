"""Parts that the heads share."""

from __future__ import annotations

from torch import nn

HEAD_NORMS = ("batch", "group")


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
    """Batch norm, or group norm (Wu and He 2018): groups of eight channels, or one where eight do not fit."""
    if norm not in HEAD_NORMS:
        raise ValueError(f"head_norm is {norm!r}, expected one of {', '.join(HEAD_NORMS)}")
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(1 if channels % 8 else channels // 8, channels)


def init_xavier(*modules: nn.Module) -> None:
    """Xavier weights for the convolutions of a head (paper, Sec. 4.2); norms begin as the identity."""
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.xavier_normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
