"""What a term of the loss is: a value, what that is a mean over, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from weclick.train.counts import number
from weclick.train.data.batch import Batch
from weclick.train.view import View

Section = Mapping[str, Any]
"""The section of the configuration for a term. It has a `weight`, and perhaps a `warmup`."""


@dataclass(frozen=True)
class Mean:
    """The items that a term's value is a mean over. With it a step's batch can be taken in parts.

    Attributes:
        over: one of COUNTS, e.g. the clicks, or the cells of the targets that lie inside the image; or whole
            `targets`, `frames` or `neighbours`.
        per: how often a sample counts in the term: once (`targets`), once for each of its frames (`frames`),
            or once for each of its neighbours (`neighbours`). The term is the mean times per / targets.
    """

    over: str
    per: str = "targets"

    def scaled(self, value: Tensor, batch: Batch) -> Tensor:
        """The mean of a batch times `per / targets`."""
        return value if self.per == "targets" else value * (number(batch, self.per) / batch.targets)

    def divisor(self, counts: Mapping[str, Tensor]) -> Tensor:
        """The divisor of the sum behind a term, from the counts of one or several batches."""
        if self.per == "targets":
            return counts[self.over]
        return counts[self.over] * counts["targets"] / counts[self.per].clamp(min=1)


@dataclass(frozen=True)
class Term:
    """A row of the table.

    Attributes:
        name: in metrics.jsonl.
        title: in the report.
        section: of the configuration. Its `weight` switches the term on and multiplies it. Its `warmup` is
            the share of the training after which the term begins.
        value: gives the unweighted mean over a batch, a scalar.
        mean: gives, from the section, the items of that mean.
        needs: which of `soft_labels`, `flow` and `cams` the term uses, beside the targets and what people
            annotated.
        annotation: which of `clicks`, `masks`, `proxies` and `tags` the term learns from, if from any; of a
            role that learns from one thing alone, the kind of that. The term is off unless `supervision` is
            one of them.
        key_when_off: whether a network's key holds the section even if its weight is 0. False for new terms,
            so that keys need no more than a row of TRAINS_LIKE to stay as they are.
    """

    name: str
    title: str
    section: str
    value: Callable[[View, Section], Tensor]
    mean: Callable[[Section], Mean]
    needs: frozenset[str] = frozenset()
    annotation: frozenset[str] = frozenset()
    key_when_off: bool = False

    def may_learn(self, sections: Mapping[str, Any]) -> bool:
        """Whether the `supervision` of a configuration has an annotation that the term learns from."""
        return not self.annotation or bool(self.annotation & learned_from(sections))


def learned_from(sections: Mapping[str, Any]) -> frozenset[str]:
    """What a configuration learns from, by its `supervision`."""
    supervision = sections.get("supervision", "clicks")
    return frozenset({"clicks", "masks"} if supervision == "both" else {supervision})
