"""The terms of the loss, a row each.

The table TERMS decides everything that depends on the choice of losses: the objective, the shares of
micro-batches and processes, the key of a network, what metrics.jsonl and the report show, and whether a
training reads flow and soft labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from weclick.geometry import backward_warp
from weclick.losses import (
    GatedCRFKernel,
    cross_entropy,
    gated_crf,
    knowledge_distillation,
    memory_flow_distillation,
    partial_cross_entropy,
)
from weclick.manifest import IGNORE
from weclick.train.data.batch import Batch

Section = Mapping[str, Any]
"""The section of the configuration for a term. It has a `weight`, and perhaps a `warmup`."""


class View:
    """What the terms can use of one micro-batch.

    Attributes:
        logits: (S, K, h, w) float32 of all frames of the batch, targets first.
        targets: (B, K, h, w) of the targets.
        neighbours: (M, K, h, w) of the neighbours.
        batch: that the logits belong to.
        class_weights: (K,) factors of the classes in partial cross-entropy, or None.
    """

    def __init__(self, logits: Tensor, batch: Batch, class_weights: Tensor | None):
        self.logits = logits.float().contiguous()  # otherwise each term would copy it out of channels_last
        # Cut once: each cut adds up its own gradient, and another order of adding gives other bits.
        self.targets, self.neighbours = self.logits[: batch.targets], self.logits[batch.targets :]
        self.batch, self.class_weights = batch, class_weights

    @cached_property
    def probs(self) -> Tensor:
        """(B, K, h, w) probabilities of the targets."""
        return self.targets.softmax(1)

    @property
    def teacher(self) -> Tensor:
        """(S, K, h, w) soft labels of all frames."""
        assert self.batch.teacher is not None, "a term that needs soft labels got a batch without"
        return self.batch.teacher


@dataclass(frozen=True)
class Mean:
    """The items that a term's value is a mean over. With it a step's batch can be taken in parts.

    Attributes:
        over: one of COUNTS, e.g. the clicks, or the cells of the targets that lie inside the image.
        per: how often a sample counts in the term: once (`targets`), once for each of its frames (`frames`),
            or once for each of its neighbours (`neighbours`). The term is the mean times per / targets.
    """

    over: str
    per: str = "targets"

    def scaled(self, value: Tensor, batch: Batch) -> Tensor:
        """The mean of a batch times `per / targets`."""
        return value if self.per == "targets" else value * (_number(batch, self.per) / batch.targets)

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
        needs: which of `soft_labels` and `flow` the term uses, beside the targets and what people annotated.
        annotation: `clicks` or `masks`, if the term learns from these. It is off unless the configuration's
            `supervision` names them.
        key_when_off: whether a network's key holds the section even if its weight is 0. False for new terms,
            so that keys need no more than a row of TRAINS_LIKE to stay as they are.
    """

    name: str
    title: str
    section: str
    value: Callable[[View, Section], Tensor]
    mean: Callable[[Section], Mean]
    needs: frozenset[str] = frozenset()
    annotation: str = ""
    key_when_off: bool = False

    def may_learn(self, sections: Mapping[str, Any]) -> bool:
        """Whether the `supervision` of a configuration has the annotation that the term learns from."""
        return not self.annotation or sections.get("supervision", "clicks") in (self.annotation, "both")


def _at_clicks(view: View, section: Section) -> Tensor:
    batch = view.batch
    return partial_cross_entropy(
        view.targets,
        batch.points,
        batch.classes,
        input_size=batch.input_size,
        class_weights=view.class_weights,
        weights=batch.point_weights,
    )


def _at_labelled_pixels(view: View, section: Section) -> Tensor:
    return cross_entropy(view.targets, _class_maps(view.batch), ignore=IGNORE)


def _over_colours(view: View, section: Section) -> Tensor:
    targets, probs = view.batch.targets, view.probs
    return gated_crf(
        probs,
        adaptive_avg_pool2d(view.batch.images[:targets], (probs.shape[-2], probs.shape[-1])),
        kernels=(GatedCRFKernel(1.0, section["sigma_xy"], section["sigma_rgb"]),),
        radius=section["radius"],
        valid=view.batch.inside[:targets],
    )


def _from_teacher(view: View, section: Section) -> Tensor:
    return knowledge_distillation(
        view.logits,
        view.teacher,
        direction=section["direction"],
        temperature=section["temperature"],
        valid=view.batch.taught,
    )


def _along_flow(view: View, section: Section) -> Tensor:
    batch, stop = view.batch, section["stop_gradient"]
    warped, valid = warp_neighbours(batch, view.neighbours.detach() if stop else view.neighbours)
    loss = memory_flow_distillation(
        view.probs,
        warped,
        view.teacher[: batch.targets],
        valid,
        target_of=batch.target_of,
        mode=section["consistency"],
        stop_gradient=stop,
        reduction=section["reduction"],
    )
    return loss * (1 / batch.targets) if section["reduction"] == "sum" else loss


TERMS: tuple[Term, ...] = (
    Term(
        name="partial_cross_entropy",
        title="Partial cross-entropy",
        section="partial_cross_entropy",
        value=_at_clicks,
        mean=lambda section: Mean("clicks"),
        annotation="clicks",
        key_when_off=True,
    ),
    Term(
        name="cross_entropy",
        title="Cross-entropy",
        section="cross_entropy",
        value=_at_labelled_pixels,
        mean=lambda section: Mean("labelled_pixels"),
        annotation="masks",
    ),
    Term(
        name="gated_crf",
        title="Gated CRF",
        section="gated_crf",
        value=_over_colours,
        mean=lambda section: Mean("target_cells"),
        key_when_off=True,
    ),
    Term(
        name="knowledge_distillation",
        title="Knowledge distillation",
        section="kd",
        value=_from_teacher,
        mean=lambda section: Mean("cells", per="frames"),  # Eq. 4 is summed over the frames of a sample
        needs=frozenset({"soft_labels"}),
        key_when_off=True,
    ),
    Term(
        name="memory_flow",
        title="Memory-flow distillation",
        section="mfd",
        value=_along_flow,
        mean=lambda section: (  # Eq. 3 is summed over the neighbours of a sample
            Mean("targets") if section["reduction"] == "sum" else Mean("flow_cells", per="neighbours")
        ),
        needs=frozenset({"soft_labels", "flow"}),
        key_when_off=True,
    ),
)
"""The terms, in the order in which a step adds them up."""


def active(sections: Mapping[str, Any]) -> Iterator[tuple[Term, Section]]:
    """The terms that a configuration switches on, with their sections.

    Args:
        sections: of the configuration. Terms without a section are off, such as a teacher's distillation.
    """
    for term in TERMS:
        section = sections.get(term.section)
        if section and section["weight"] and term.may_learn(sections):
            yield term, section


def needs(sections: Mapping[str, Any]) -> frozenset[str]:
    """Which of `soft_labels` and `flow` the active terms use."""
    return frozenset().union(*(term.needs for term, _ in active(sections)))


def learns_from(annotation: str, sections: Mapping[str, Any]) -> bool:
    """Whether an active term learns from an annotation, `clicks` or `masks`."""
    return any(term.annotation == annotation for term, _ in active(sections))


def key_sections(sections: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that the key of a network holds."""
    on = {term.section for term, _ in active(sections)}
    asked = [
        term.section
        for term in TERMS
        if term.section in on or (term.key_when_off and term.may_learn(sections))
    ]
    return {name: sections[name] for name in asked if name in sections}


def warp_neighbours(batch: Batch, logits: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The neighbours' probabilities on their targets' grids, and where they count.

    A cell counts if it comes from inside the neighbour's image, lies inside the target's and has a soft label
    there, and the cached masks accept its flow. On a CPU this takes one image at a time, since that fits into
    the cache: it needs two thirds of the time and memory of all at once.

    Args:
        batch: B targets and their M neighbours.
        logits: (M, K, h, w) of the neighbours; None to get the cells only.

    Returns:
        (M, K, h, w) probabilities, with K = 0 without logits; and (M, 1, h, w) bool.
    """
    inside = batch.inside[batch.targets :].to(batch.flow if logits is None else logits)
    at_once = 1 if inside.device.type == "cpu" else max(len(inside), 1)
    parts = []
    for at in range(0, len(inside), at_once):
        now = slice(at, at + at_once)
        known = [] if logits is None else [logits[now].softmax(1)]
        parts.append(backward_warp(torch.cat([*known, inside[now]], 1), batch.flow[now]))
    if not parts:
        return batch.flow[:, :0], batch.flow_valid
    warped, valid = (torch.cat(values) for values in zip(*parts, strict=True))
    valid = valid & (warped[:, -1:] > 0.999)
    return warped[:, :-1], valid & batch.taught[batch.target_of] & batch.flow_valid


COUNTS: dict[str, Callable[[Batch, Tensor | None], Tensor]] = {
    "clicks": lambda batch, weights: _click_weights(batch, weights),
    "labelled_pixels": lambda batch, _: _class_maps(batch) != IGNORE,
    "target_cells": lambda batch, _: batch.inside[: batch.targets],
    "cells": lambda batch, _: batch.taught,
    "flow_cells": lambda batch, _: warp_neighbours(batch)[1],
}
"""The items that terms are means over, as values whose sum is their count.

`targets`, `frames` and `neighbours` come on top. Clicks count by the weights of their classes (N,), points of
a scribble also by their share of it; labelled pixels are bool (B, H, W), cells bool (.., 1, h, w).
"""


def _click_weights(batch: Batch, class_weights: Tensor | None) -> Tensor:
    own = torch.ones_like(batch.classes) if batch.point_weights is None else batch.point_weights
    return own if class_weights is None else own * class_weights.to(batch.device)[batch.classes]


def count(names: list[str], batch: Batch, class_weights: Tensor | None) -> Tensor:
    """(N,) float64 counts of a batch. Counts of batches can be added.

    Args:
        names: N names from COUNTS, or `targets`, `frames`, `neighbours`.
        batch: to count in.
        class_weights: (K,) factors of the classes, which weight the clicks, or None.
    """
    return torch.stack([_count(name, batch, class_weights) for name in names])


def _class_maps(batch: Batch) -> Tensor:
    assert batch.labels is not None, "a term that learns from masks got a batch without"
    return batch.labels


def _count(name: str, batch: Batch, class_weights: Tensor | None) -> Tensor:
    if name in COUNTS:
        return COUNTS[name](batch, class_weights).sum(dtype=torch.float64)
    return torch.tensor(_number(batch, name), dtype=torch.float64).to(batch.device, non_blocking=True)


def _number(batch: Batch, of: str) -> int:
    return {
        "targets": batch.targets,
        "neighbours": batch.neighbours,
        "frames": batch.targets + batch.neighbours,
    }[of]
