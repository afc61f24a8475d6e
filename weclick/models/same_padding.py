"""Convolutions that pad as TensorFlow does ("same"), which other paddings of the same sum do not equal."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does; its own `padding` counts for nothing.

    timm's Conv2dSame takes the ceiling of a quotient, which an exported graph of free size cannot follow.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H/stride), ceil(W/stride))."""
        (top, below), (left, right) = (
            same_padding(*numbers)
            for numbers in zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        )
        padded = pad(x, (left, right, top, below))
        return conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def same_padding(side: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Cells before and after a side."""
    least = dilation * (kernel - 1) + 1 - stride
    total = least + cells(side, stride) * stride - side
    if least < 0:
        total = max(total, 0)
    return total // 2, total - total // 2


def cells(side: int, stride: int) -> int:
    """Cells of a grid that cover a side."""
    return (side + stride - 1) // stride
