"""From batches of pairs to flows on the stride grid: estimate, judge, shrink."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.flow.estimators import FlowEstimator, estimate_both
from weclick.flow.pairs import PairImages
from weclick.geometry import downsample_flow, downsample_mask, forward_backward_valid, photometric_valid_among
from weclick.store.flow_entries import MASKS


class BatchEstimator:
    """Flow and validity of batches of pairs on the stride grid, in as many pieces as the memory asks for.

    Args:
        estimator: asked for the flow target -> neighbour, and back where a mask needs it.
        stride_px: of the grid.
        masks: names in MASKS.
    """

    def __init__(self, estimator: FlowEstimator, *, stride_px: int, masks: Collection[str]):
        self._estimator, self._stride_px, self._masks = estimator, stride_px, masks
        self._fits: dict[tuple[int, ...], int] = {}

    def __call__(self, batch: Sequence[PairImages]) -> list[tuple[Tensor, Tensor | None]]:
        """The batch's pieces in order, each (b, 2, h, w) float32 px of the grid, and (b, h, w) uint8.

        The uint8 are the bits of the masks that hold, or None if no mask is asked for. Both lie on the
        estimator's device, which may still be computing them.

        Raises:
            InputError: the memory does not even hold one pair.
        """
        size = batch[0].target.shape
        done: list[tuple[Tensor, Tensor | None]] = []
        at = 0
        while at < len(batch):
            count = min(self._fits.get(size, len(batch)), len(batch) - at)
            try:
                done.append(self._estimate(batch[at : at + count]))
            except (RuntimeError, MemoryError) as error:
                self._fits[size] = self._halve(count, size, error)
            else:
                at += count
        return done

    def _halve(self, count: int, size: tuple[int, ...], error: RuntimeError | MemoryError) -> int:
        if not _is_out_of_memory(error):
            raise error
        size_px = f"{size[0]}x{size[1]} px (HxW)"
        if count == 1:
            raise InputError(
                f"the memory does not hold one pair of {size_px} with flow.estimator {self._estimator.name}; "
                "use another variant, a lower precision, smaller frames (data.shrink) or a larger GPU"
            ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(
            f"weclick: warning: the memory does not hold {count} pairs of {size_px} at once; going on with "
            f"{count // 2} (set flow.batch_pairs: {count // 2} to begin so)",
            file=sys.stderr,
        )
        return count // 2

    def _estimate(self, batch: Sequence[PairImages]) -> tuple[Tensor, Tensor | None]:
        target = _to_tensor([pair.target for pair in batch])
        neighbour = _to_tensor([pair.neighbour for pair in batch])
        if "forward_backward" in self._masks:
            flow, back = estimate_both(self._estimator, target, neighbour)
        else:
            flow = self._estimator.estimate(target, neighbour)
        valid = torch.zeros_like(flow[:, :1], dtype=torch.uint8)[..., :: self._stride_px, :: self._stride_px]
        if "forward_backward" in self._masks:
            mask = forward_backward_valid(flow, back)
            valid = valid + downsample_mask(mask, self._stride_px) * MASKS["forward_backward"]["bit"]
        if "photometric" in self._masks:
            how = MASKS["photometric"]
            frames, pairs = _each_once(batch)
            limits = (how["threshold_grey_levels"], int(how["window_px"]))
            mask = photometric_valid_among(_to_tensor(frames).to(flow.device), pairs, flow, *limits)
            valid = valid + downsample_mask(mask, self._stride_px) * how["bit"]
        bits = valid[:, 0].to(torch.uint8) if self._masks else None
        return downsample_flow(flow, self._stride_px), bits


def _each_once(batch: Sequence[PairImages]) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """The frames of a batch, and which of them each pair joins."""
    frames: dict[int, np.ndarray] = {}
    for image in (image for pair in batch for image in (pair.target, pair.neighbour)):
        frames.setdefault(id(image), image)
    place = {name: position for position, name in enumerate(frames)}
    return [*frames.values()], [(place[id(pair.target)], place[id(pair.neighbour)]) for pair in batch]


def _is_out_of_memory(error: BaseException) -> bool:
    """A GPU's error has a type of its own; that of the CPU's allocator has only its text."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def _to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
