"""From frames in order to flows on the stride grid: decode, batch, estimate, judge, shrink."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from weclick.flow.estimators import FlowEstimator
from weclick.geometry import downsample_flow, downsample_mask, forward_backward_valid, photometric_valid

MASKS: dict[str, dict[str, float]] = {
    "forward_backward": {"bit": 1, "relative": 0.01, "absolute_px2": 0.5},
    "photometric": {"bit": 2, "threshold_grey_levels": 12.0, "window_px": 5},
}
"""Masks by name: their bit in `valid`, and what decides; those of forward_backward are fixed in `geometry`.
They are made at full resolution; a cell of the grid is valid where at least half of its pixels are."""


@dataclass(frozen=True)
class PairImages:
    """A pair of frames, each (H, W, 3) uint8 RGB, and its index in the list of pairs."""

    index: int
    target: np.ndarray
    neighbour: np.ndarray


def match_pairs(images: Iterable[np.ndarray], pairs: Sequence[tuple[int, int]]) -> Iterator[PairImages]:
    """Every pair as soon as both of its frames have come; a frame is held only while a pair waits for it.

    Args:
        images: frames in order.
        pairs: (target, neighbour) positions in `images`.
    """
    complete_at: dict[int, list[int]] = defaultdict(list)
    last_use: dict[int, int] = {}
    for index, pair in enumerate(pairs):
        complete_at[max(pair)].append(index)
        last_use |= {position: max(*pair, last_use.get(position, 0)) for position in pair}
    held: dict[int, np.ndarray] = {}
    for position, image in enumerate(images):
        held[position] = image
        for index in complete_at[position]:
            target, neighbour = pairs[index]
            yield PairImages(index, held[target], held[neighbour])
        held = {p: image for p, image in held.items() if last_use.get(p, 0) > position}


def batches(items: Iterable[PairImages], size: int) -> Iterator[list[PairImages]]:
    """Lists of `size` items, the last one shorter; the next list is made in a thread meanwhile."""
    iterator = iter(items)

    def take() -> list[PairImages]:
        return list(islice(iterator, size))

    with ThreadPoolExecutor(1) as ahead:
        future = ahead.submit(take)
        while batch := future.result():
            future = ahead.submit(take)
            yield batch


def estimate_batch(
    estimator: FlowEstimator, batch: Sequence[PairImages], *, stride_px: int, masks: Collection[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Flow and validity of a batch of pairs on the stride grid.

    Args:
        estimator: asked for the flow target -> neighbour, and back where a mask needs it.
        batch: B pairs of images of one size.
        stride_px: of the grid.
        masks: names in MASKS.

    Returns:
        (B, 2, h, w) float32 px of the grid; and (B, h, w) uint8, the bits of the masks that hold, or None
        where no mask is asked.
    """
    target = _to_tensor([pair.target for pair in batch])
    neighbour = _to_tensor([pair.neighbour for pair in batch])
    flow = estimator.estimate(target, neighbour)
    valid = torch.zeros_like(flow[:, :1], dtype=torch.uint8)[..., ::stride_px, ::stride_px]
    if "forward_backward" in masks:
        mask = forward_backward_valid(flow, estimator.estimate(neighbour, target))
        valid = valid + downsample_mask(mask, stride_px) * MASKS["forward_backward"]["bit"]
    if "photometric" in masks:
        how = MASKS["photometric"]
        images = (target.to(flow.device), neighbour.to(flow.device))
        mask = photometric_valid(*images, flow, how["threshold_grey_levels"], int(how["window_px"]))
        valid = valid + downsample_mask(mask, stride_px) * how["bit"]
    coarse = downsample_flow(flow, stride_px).cpu().numpy()
    return coarse, valid[:, 0].to(torch.uint8).cpu().numpy() if masks else None


def _to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
