"""The input convention of all networks: RGB normalised with ImageNet's mean and standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(rgb: Tensor) -> Tensor:
    """(rgb / 255 - mean) / std.

    Args:
        rgb: (..., 3, H, W), uint8 or floating point, 0..255.

    Returns:
        Floating point of the same shape; float32 for uint8.
    """
    if rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(f"rgb has shape {tuple(rgb.shape)}, expected (..., 3, H, W) with values 0..255")
    rgb = rgb if rgb.is_floating_point() else rgb.to(torch.float32)
    mean, std = (rgb.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (rgb / 255 - mean) / std


def denormalize(images: Tensor) -> Tensor:
    """The inverse of `normalize`: (..., 3, H, W) floating point -> 0..255 of the same shape."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images * std + mean) * 255
