"""What the terms of a loss are means over, so that a step's batch may be taken in parts.

The loss of a step is that of its whole batch: partial cross-entropy is the mean over all its clicks (by the
weights of their classes), the Gated CRF that over all cells of its targets inside the image, and so on. Where
the batch is taken in micro-batches, or by several processes, each part's mean counts by its share of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from weclick.geometry import backward_warp
from weclick.train.data.batch import Batch


class Means:
    """How much the terms of a part count in those of the whole batch; see `Objective`.

    Args:
        class_weights: (K,) factors of the classes in partial cross-entropy, or None.
        flow_reduction: of memory-flow distillation, mean or sum over valid cells.
    """

    def __init__(self, *, class_weights: Tensor | None = None, flow_reduction: str = "mean"):
        self._class_weights, self._flow_reduction = class_weights, flow_reduction

    def weights(
        self, parts: Sequence[Batch], add_up: Callable[[Tensor], Tensor] = lambda counts: counts
    ) -> list[dict[str, Tensor]]:
        """What to multiply the terms of each part with, so that their sum is the term of the whole.

        Args:
            parts: the micro-batches of a step on this process.
            add_up: sums counts (6,) over all processes.

        Returns:
            For each part, term -> scalar in 0..1; the weights of a term sum to 1 over parts and processes,
            or to 0 where there is nothing to take a mean over.
        """
        counts = [self._counts(part) for part in parts]
        whole = self._divisors(add_up(torch.stack(counts).sum(0)))
        tiny = torch.finfo(torch.float64).tiny
        return [
            {term: (own / whole[term].clamp(min=tiny)).float() for term, own in self._divisors(count).items()}
            for count in counts
        ]

    def _counts(self, batch: Batch) -> Tensor:
        """(6,) float64, sums that add up over parts."""
        weights = self._class_weights
        clicks = (
            torch.ones_like(batch.classes) if weights is None else weights.to(batch.device)[batch.classes]
        )
        at_targets = batch.inside[: batch.targets]
        sums = [
            values.sum(dtype=torch.float64)
            for values in (clicks, at_targets, batch.inside, _flow_valid(batch))
        ]
        sizes = torch.tensor([batch.targets, batch.neighbours], dtype=torch.float64)
        return torch.cat([torch.stack(sums), sizes.to(batch.device, non_blocking=True)])

    def _divisors(self, counts: Tensor) -> dict[str, Tensor]:
        """What the sums behind each term are divided by."""
        clicks, at_targets, cells, flow_cells, targets, neighbours = counts.unbind()
        mean = flow_cells * targets / neighbours.clamp(min=1)
        return {
            "partial_cross_entropy": clicks,
            "auxiliary_partial_cross_entropy": clicks,
            "gated_crf": at_targets,
            "knowledge_distillation": cells * targets / (targets + neighbours),
            "memory_flow": mean if self._flow_reduction == "mean" else targets,
        }


def _flow_valid(batch: Batch) -> Tensor:
    """(M, 1, h, w) bool, the cells over which memory-flow distillation takes its mean."""
    if not len(batch.flow):
        return batch.flow_valid
    warped, valid = backward_warp(batch.inside[batch.targets :].float(), batch.flow)
    return valid & (warped > 0.999) & batch.inside[batch.target_of] & batch.flow_valid
