"""What a training minimises: the terms of Eq. 5 that are switched on, as a named dict.

The teacher sums partial cross-entropy and Gated CRF on targets alone. The student adds distillation from the
soft labels of all its frames, and memory-flow distillation from neighbours to targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from weclick.train.data.batch import Batch
from weclick.train.terms import View, active, count

Losses = Callable[[Any, Batch, int], dict[str, Tensor]]
"""What the network gives in training mode, the batch and the step -> named terms, whose sum is the loss."""

AddUp = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes."""

Shares = Callable[[Sequence[Batch], AddUp], list[dict[str, Tensor]]]
"""The micro-batches of a step on this process -> what each one's terms count, see `Objective.shares`."""

AUXILIARY = "auxiliary_"
"""Begins the names of an auxiliary head's terms."""


class Objective:
    """The weighted terms of one step.

    Args:
        sections: of the configuration, by name; those that no term has do no harm.
        steps: length of the training, of which a term's warm-up is a share.
        class_weights: (K,) factors of the classes in partial cross-entropy, or None.
    """

    def __init__(self, sections: Mapping[str, Any], *, steps: int, class_weights: Tensor | None):
        self._on = [(term, section, term.mean(section)) for term, section in active(sections)]
        self._steps, self.class_weights = steps, class_weights

    def __call__(self, logits: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        """The terms of a batch, each already times its weight; their sum is the loss.

        Args:
            logits: (S, K, h, w) of all frames of the batch.
            batch: what belongs to them.
            step: zero-based.

        Returns:
            name -> scalar, only of the terms that are on, have begun, and find what they need.
        """
        view = View(logits, batch, self.class_weights)
        terms = {}
        for term, section, mean in self._on:
            begun = step >= round(section.get("warmup", 0) * self._steps)
            if begun and (batch.neighbours or "flow" not in term.needs):
                terms[term.name] = section["weight"] * mean.scaled(term.value(view, section), batch)
        return terms

    def shares(
        self, parts: Sequence[Batch], add_up: AddUp = lambda counts: counts
    ) -> list[dict[str, Tensor]]:
        """What to multiply the terms of each part with, so that their sum is the term of the whole batch.

        The loss of a step is that of its whole batch: partial cross-entropy is the mean over all its clicks,
        the Gated CRF that over all cells of its targets, and so on. Where the batch is taken in
        micro-batches, or by several processes, each part's mean counts by its share of these.

        Args:
            parts: the micro-batches of a step on this process.
            add_up: sums counts (N,) over all processes.

        Returns:
            For each part, term -> scalar in 0..1. The shares of a term sum to 1 over parts and processes, or
            to 0 where there is nothing to take a mean over.
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
    """The objective of a network with an auxiliary head, which gives (logits, auxiliary logits).

    Args:
        objective: of the logits.
        auxiliary: of the auxiliary logits, on their own grid.
        weight: of each of its terms, which are named auxiliary_<term>; 0.4 in PSPNet (Zhao et al. 2017).
    """

    def terms(outputs: tuple[Tensor, Tensor], batch: Batch, step: int) -> dict[str, Tensor]:
        extra = auxiliary(outputs[1], batch, step)
        named = {f"{AUXILIARY}{name}": weight * term for name, term in extra.items()}
        return objective(outputs[0], batch, step) | named

    return terms
