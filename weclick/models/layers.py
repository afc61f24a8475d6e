"""Parts that the heads share."""

from __future__ import annotations

from torch import nn


def conv_norm_relu(channels_in: int, channels_out: int, kernel: int, *, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the size, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def init_xavier(*modules: nn.Module) -> None:
    """Xavier weights for the convolutions of a head (paper, Sec. 4.2); batch norm begins as the identity."""
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.xavier_normal_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
