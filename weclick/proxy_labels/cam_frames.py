"""Scores and class activation maps of frames, merged over scales and mirror images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weclick.geometry import grid_size
from weclick.models import normalize
from weclick.proxy_labels.cam_sources import BySeveral, Mapper
from weclick.proxy_labels.merging import Merge, merged_values

STRIDE_PX = 4
"""Of the grid of the maps: (H - 1) // 4 + 1 rows, as IRN has them (Ahn et al. 2019)."""


@torch.inference_mode()
def scores_of(mapper: Mapper | BySeveral, images: Iterable[np.ndarray], device: str) -> np.ndarray:
    """(T, K) float32 scores of frames (H, W, 3) uint8, each as it is, without scales and mirror images."""
    found = [mapper.scores(normalize(as_tensor(image, device)))[0] for image in images]
    return torch.stack(found).float().cpu().numpy()


def maps_of(
    mapper: Mapper | BySeveral,
    images: Iterable[np.ndarray],
    class_ids: Sequence[int],
    *,
    scales: Sequence[float],
    flip: bool,
    merge: Merge,
    device: str = "cpu",
) -> Iterator[Tensor]:
    """The merged maps of each frame, in the classifier's unit, one frame at a time.

    Args:
        mapper: gives the maps of an image. Of several, each class has those of its own.
        images: (H, W, 3) uint8 RGB.
        class_ids: of the C classes.
        scales, flip, merge: as in the section `cams`.
        device: where the network runs.

    Yields:
        (C, h, w) float32, 0 or more, on the grid of STRIDE_PX.
    """
    for image in images:
        with torch.inference_mode():
            rgb, size = as_tensor(image, device), grid_size(image.shape, STRIDE_PX)
            seen = (scaled(rgb, scale) for scale in scales)
            both = [normalize(torch.cat([each, each.flip(-1)]) if flip else each) for each in seen]
            found: dict[int, Tensor] = {}
            for part, own in _shared_out(mapper, class_ids):
                merged = merged_values([part.maps(each, own) for each in both], size, merge)
                found |= zip(own, merged, strict=True)
            empty = torch.zeros(size, device=device)
            stacked = torch.stack([found.get(k, empty) for k in class_ids])
        yield stacked


def _shared_out(mapper: Mapper | BySeveral, class_ids: Sequence[int]) -> list[tuple[Mapper, list[int]]]:
    if isinstance(mapper, BySeveral):
        return mapper.shared_out(class_ids)
    return [(mapper, list(class_ids))]


def as_tensor(image: np.ndarray, device: str) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32, 0..255."""
    return torch.tensor(image, device=device).permute(2, 0, 1)[None].float()


def scaled(rgb: Tensor, scale: float) -> Tensor:
    """An image at another size; smaller ones are smoothed before."""
    if scale == 1:
        return rgb
    height, width = (max(1, round(scale * side)) for side in rgb.shape[-2:])
    return interpolate(rgb, (height, width), mode="bilinear", align_corners=False, antialias=scale < 1)
