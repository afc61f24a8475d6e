"""One map of each class from the maps of several scales and of mirror images."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weclick.common.errors import InputError

Merge = Literal["maximum", "sum"]

LEAST = 1e-5
"""Added to the maximum that a map is divided by, so that an empty map stays empty (Ahn et al. 2019)."""


def merge_maps(maps: Sequence[Tensor], size: Sequence[int], mode: Merge = "maximum") -> Tensor:
    """Merge the maps of several scales, and scale every class by its own maximum.

    `maximum` is that of F2F (Lee et al., ICCV 2019): pixel-wise, over all scales and mirror images. `sum` is
    that of IRN (Ahn et al., CVPR 2019), which is better on objects that are small in the image.

    Args:
        maps: of each scale (2, K, h, w), 0 or more: of the image, and of its mirror image, still mirrored. Or
            (1, K, h, w) of the image alone. Grids may differ. Apply the ReLU of class activation maps before.
        size: (H, W) of the result.
        mode: how scales and mirror images are merged.

    Returns:
        (K, H, W), each class over its own maximum + 1e-5. A map of zeros stays 0.

    Raises:
        InputError: there are no maps, their shapes do not fit, or the mode is unknown.

    Example:
        The mirror image shows its object on the other side.

        >>> merge_maps([torch.tensor([[[[4.0, 0.0]]], [[[0.0, 2.0]]]])], (1, 2), "sum")
        tensor([[[1., 0.]]])
    """
    merged = merged_values(maps, size, mode)
    return merged / (merged.amax((1, 2), keepdim=True) + LEAST)


def merged_values(maps: Sequence[Tensor], size: Sequence[int], mode: Merge) -> Tensor:
    """As `merge_maps`, in the unit of the maps: (K, H, W), not divided by anything."""
    if mode not in get_args(Merge):
        raise InputError(f"maps are merged by {mode!r}, expected {' or '.join(get_args(Merge))}")
    shapes = [tuple(each.shape) for each in maps]
    if not shapes or any(len(shape) != 4 or shape[0] not in (1, 2) for shape in shapes):
        raise InputError(f"maps have the shapes {shapes}, expected some of (2, K, h, w) or (1, K, h, w)")
    if len({shape[1] for shape in shapes}) > 1:
        raise InputError(f"maps have the shapes {shapes}, expected as many classes (K) at every scale")
    return reduce(operator.add if mode == "sum" else torch.maximum, _upright(maps, size))


def _upright(maps: Sequence[Tensor], size: Sequence[int]) -> Iterator[Tensor]:
    """The maps of every image (K, H, W), those of mirror images mirrored back."""
    for each in maps:
        image, *mirrored = interpolate(each, (size[0], size[1]), mode="bilinear", align_corners=False)
        yield image
        yield from (one.flip(-1) for one in mirrored)
