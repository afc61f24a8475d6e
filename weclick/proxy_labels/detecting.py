"""Instances from the maps of classes and the relations of cells (Ahn et al. 2019, "IRN", and flowIRN)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import cc3d
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weclick.common.errors import InputError
from weclick.common.rle import MASK_BYTES
from weclick.common.words import count_bytes
from weclick.geometry import grid_size
from weclick.proxy_labels.array_kind import as_given, as_tensor
from weclick.proxy_labels.random_walk import walk

Normalise = Literal["image", "instance"]

STRIDE_PX = 4
"""Of the grid that relations are learned on."""

MAP_BYTES = 2**32
"""Memory at most for the maps that walk, in double precision: 4,096 of them at 1024 x 2048 px."""

_TODO = (
    "where clusters are so small, the network of relations has learned little: train it longer, or make "
    "frames smaller (data.shrink)"
)


def detections(
    cams: Any,
    clusters: Any,
    edge: Any,
    size: tuple[int, int],
    *,
    background: float = 0.25,
    min_share: float = 0.01,
    normalise: Normalise = "image",
    radius: int = 5,
    beta: float = 10,
    exp_times: int = 8,
) -> tuple[Any, Any, Any]:
    """The instances of a frame, each with its class and score.

    The map of each class in each cluster walks by itself (see `walk`) and is brought to the frame's size. A
    pixel belongs to the map that is the strongest there, if that is stronger than the background. Each
    connected region of a map is an instance. Its score is the maximum of its map inside.

    Args:
        cams: (K, h, w), at least 0, numpy or torch; of the classes that occur, on a grid of stride 4.
        clusters: (h, w) integer, see `group`. All its numbers count, 0 too.
        edge: (h, w) probability of an edge, 0..1.
        size: (H, W) of the frame, px.
        background: what maps have to exceed, as a share of the maximum; 0..1.
        min_share: of the frame, 0..1. Smaller regions have the score 0.
        normalise: image divides all maps by the maximum over all of them, so that a weak instance beside a
            strong one may vanish. instance divides each by its own.
        radius, beta, exp_times: see `walk`.

    Returns:
        masks (N, H, W) bool, classes (N,) int64 as positions in `cams`, and scores (N,) 0..1, sorted by
        class, cluster, and the first pixel; numpy or torch as `cams`. N is 0 where all maps are.

    Raises:
        InputError: shapes do not fit, an option is unknown or out of its range, or so many maps walk or so
            many instances are found that they take more than MAP_BYTES or MASK_BYTES.
    """
    found, numbers = as_tensor(cams, "maps"), as_tensor(clusters, "clusters")
    _check(found, numbers, size, background, min_share, normalise)
    maps, class_of = _apart(found, numbers.to(found.device))
    walked = walk(maps, as_tensor(edge, "edges"), radius=radius, beta=beta, exp_times=exp_times)
    strongest, winner = strongest_map(walked, size, normalise)
    regions = winner.where(strongest > background, -1) + 1
    masks, kinds = _components(regions.cpu().numpy())
    scores = strongest.new_tensor([float(strongest[mask].max()) for mask in masks])
    scores[masks.flatten(1).sum(1) < min_share * size[0] * size[1]] = 0
    classes = class_of[(kinds - 1).to(class_of.device)]
    return as_given(masks.to(found.device), cams), as_given(classes, cams), as_given(scores, cams)


def _apart(cams: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor]:
    """The map of each class in each cluster (M, h, w), and its class (M,). Empty maps are left out."""
    filled = [(k, number) for k, cam in enumerate(cams) for number in clusters[cam != 0].unique()]
    _check_memory("maps of a class in a cluster", len(filled), 8 * clusters.numel(), MAP_BYTES)
    maps = cams.new_zeros((len(filled), *clusters.shape))
    for each, (k, number) in zip(maps, filled, strict=True):
        each.copy_(cams[k] * (clusters == number))
    return maps, torch.tensor([k for k, _ in filled], dtype=torch.int64, device=cams.device)


def strongest_map(
    maps: Iterable[Tensor], size: tuple[int, int], normalise: Normalise
) -> tuple[Tensor, Tensor]:
    """The strongest of several maps at each pixel of a frame.

    Maps are brought to the frame's size one by one, since all of them together may not fit into memory.

    Args:
        maps: (h, w) each, at least 0, on the grid of stride 4.
        size: (H, W) of the frame, px.
        normalise: see `detections`.

    Returns:
        (H, W) its value, 0..1, and (H, W) int64 its position in `maps`, 0 where all are 0.
    """
    strongest, winner = torch.zeros(size), torch.zeros(size, dtype=torch.long)
    for i, each in enumerate(maps):
        large = interpolate(each[None, None], scale_factor=STRIDE_PX, mode="bilinear", align_corners=False)
        large = large[0, 0, : size[0], : size[1]]
        if normalise == "instance":
            large = _over_maximum(large)
        strongest, winner = strongest.to(large), winner.to(large.device)
        better = large > strongest
        strongest, winner = large.where(better, strongest), winner.masked_fill(better, i)
    return _over_maximum(strongest), winner


def _over_maximum(values: Tensor) -> Tensor:
    maximum = values.max()
    return values / maximum if maximum > 0 else values


def _components(regions: np.ndarray) -> tuple[Tensor, Tensor]:
    """The components (N, H, W) bool that touch at sides, and the region of each (N,), sorted by it."""
    components = cc3d.connected_components(regions.astype(np.uint32), connectivity=4)
    numbers, first = np.unique(components, return_index=True)
    numbers, first = numbers[numbers > 0], first[numbers > 0]
    _check_memory("regions", len(numbers), regions.size, MASK_BYTES)
    kinds = regions.ravel()[first]
    order = np.lexsort((first, kinds))
    masks = components == numbers[order][:, None, None]
    return torch.from_numpy(masks), torch.from_numpy(kinds[order].astype(np.int64))


def _check_memory(what: str, count: int, item_bytes: int, most: int) -> None:
    if count * item_bytes > most:
        raise InputError(
            f"{count} {what} take {count_bytes(count * item_bytes)}, at most {count_bytes(most)} are kept; "
            f"{_TODO}"
        )


def _check(
    cams: Tensor, clusters: Tensor, size: tuple[int, int], background: float, min_share: float, normalise: str
) -> None:
    grid = grid_size(size, STRIDE_PX)
    if cams.ndim != 3 or cams.shape[1:] != grid or clusters.shape != grid or not clusters.numel():
        raise InputError(
            f"maps are {tuple(cams.shape)} and clusters {tuple(clusters.shape)}, expected (K, h, w) and "
            f"(h, w) with {grid[0]} x {grid[1]} cells of {STRIDE_PX} px for a frame of {size[0]} x "
            f"{size[1]} px"
        )
    if not 0 <= background < 1 or not 0 <= min_share <= 1:
        raise InputError(
            f"background is {background!r} and min_share {min_share!r}, expected shares of 0..1, and a "
            "background below 1"
        )
    if normalise not in get_args(Normalise):
        raise InputError(f"normalise is {normalise!r}, expected {' or '.join(get_args(Normalise))}")
