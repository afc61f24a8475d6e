"""What a training minimises: the active terms of Eq. 5, as a named dict.

The teacher sums partial cross-entropy and Gated CRF on targets only. The student adds distillation from the
soft labels of all its frames, and memory-flow distillation from neighbours to targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from weclick.train.counts import count
from weclick.train.data.batch import Batch
from weclick.train.terms import active
from weclick.train.view import Outputs, View

Losses = Callable[[Any, Batch, int], dict[str, Tensor]]
"""The network's output in training mode, the batch and the step -> named terms. Their sum is the loss."""

AddUp = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes."""

Shares = Callable[[Sequence[Batch], AddUp], list[dict[str, Tensor]]]
"""The micro-batches of a step on this process -> weights of each one's terms, see `Objective.shares`."""

AUXILIARY = "auxiliary_"
"""The prefix of an auxiliary head's terms."""


class Objective:
    """The weighted terms of one step.

    Args:
        sections: of the configuration, by name; sections of no term are ignored.
        steps: length of the training; a term's warm-up is a share of it.
        class_weights: (K,) factors of the classes in partial cross-entropy, or None.
    """

    def __init__(self, sections: Mapping[str, Any], *, steps: int, class_weights: Tensor | None):
        self._on = [(term, section, term.mean(section)) for term, section in active(sections)]
        self._steps, self.class_weights = steps, class_weights

    def __call__(self, outputs: Outputs, batch: Batch, step: int) -> dict[str, Tensor]:
        """The terms of a batch, already multiplied by their weights. Their sum is the loss.

        Args:
            outputs: of the network; logits are (S, K, h, w) of all frames of the batch.
            batch: that the outputs belong to.
            step: zero-based.

        Returns:
            name -> scalar, for the terms that are on, have begun, and find what they need.
        """
        view = View(outputs, batch, self.class_weights)
        terms = {}
        for term, section, mean in self._on:
            begun = step >= round(section.get("warmup", 0) * self._steps)
            if begun and (batch.neighbours or "flow" not in term.needs):
                terms[term.name] = section["weight"] * mean.scaled(term.value(view, section), batch)
        return terms

    def shares(
        self, parts: Sequence[Batch], add_up: AddUp = lambda counts: counts
    ) -> list[dict[str, Tensor]]:
        """Factors for the terms of each part, so that the parts add up to the terms of the whole batch.

        The loss of a step is that of its whole batch: partial cross-entropy is the mean over all clicks,
        Gated CRF the mean over all cells of the targets, and so on. If micro-batches or processes share the
        batch, the mean of each part counts by its share of the clicks or cells.

        Args:
            parts: the micro-batches of a step on this process.
            add_up: sums counts (N,) over all processes.

        Returns:
            For each part, term -> scalar in 0..1. The shares of a term sum to 1 over parts and processes, or
            to 0 if there is nothing to take a mean over.
        """
        asked = (name for _, _, mean in self._on for name in (mean.over, mean.per))
        names = list(dict.fromkeys(("targets", *asked)))
        counts = [count(names, part, self.class_weights) for part in parts]
        whole = self._divisors(names, add_up(torch.stack(counts).sum(0)))
        tiny = torch.finfo(torch.float64).tiny
        return [
            {name: (own / whole[name].clamp(min=tiny)).float() for name, own in divisors.items()}
            for divisors in (self._divisors(names, counted) for counted in counts)
        ]

    def _divisors(self, names: Sequence[str], counts: Tensor) -> dict[str, Tensor]:
        counted = dict(zip(names, counts.unbind(), strict=True))
        return {term.name: mean.divisor(counted) for term, _, mean in self._on}


def with_auxiliary(objective: Losses, auxiliary: Losses, weight: float) -> Losses:
    """The objective of a network with an auxiliary head. The network gives (logits, auxiliary logits).

    Args:
        objective: of the logits.
        auxiliary: of the auxiliary logits, on their own grid.
        weight: of each auxiliary term, named auxiliary_<term>; 0.4 in PSPNet (Zhao et al. 2017).
    """

    def terms(outputs: tuple[Tensor, Tensor], batch: Batch, step: int) -> dict[str, Tensor]:
        extra = auxiliary(outputs[1], batch, step)
        named = {f"{AUXILIARY}{name}": weight * term for name, term in extra.items()}
        return objective(outputs[0], batch, step) | named

    return terms
