"""The terms of the loss, a row each.

The table TERMS decides everything that depends on the choice of losses: the objective, the shares of
micro-batches and processes, the key of a network, what metrics.jsonl and the report show, and whether a
training reads flow and soft labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from weclick.losses import (
    GatedCRFKernel,
    affinity_displacement,
    balanced_seed_loss,
    constrain_loss,
    cross_entropy,
    expand_loss,
    flow_boundary,
    gated_crf,
    grow_cues,
    heatmap_loss,
    knowledge_distillation,
    memory_flow_distillation,
    multilabel_soft_margin,
    partial_cross_entropy,
    seed_loss,
    tag_loss,
)
from weclick.manifest import IGNORE
from weclick.train.counts import tags_of, warp_neighbours
from weclick.train.term import Mean, Section, Term, learned_from
from weclick.train.view import View, class_maps


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
    return cross_entropy(view.targets, class_maps(view.batch), ignore=IGNORE)


def _at_cues(view: View, section: Section) -> Tensor:
    cues = view.cues
    if section["grow"]:
        refined = view.refined(section["preset"], section["iterations"])
        limits = {"foreground": section["grow_foreground"], "background": section["grow_background"]}
        grown = [grow_cues(*image, **limits) for image in zip(refined, cues, view.present, strict=True)]
        cues = torch.stack(grown)
    loss = balanced_seed_loss if section["balanced"] else seed_loss
    return loss(view.targets, cues, view.present)


def _by_presence(view: View, section: Section) -> Tensor:
    return expand_loss(
        view.targets, view.present, foreground=section["foreground"], background=section["background"]
    )


def _which_classes(view: View, section: Section) -> Tensor:
    inside = view.batch.inside[: view.batch.targets]
    return tag_loss(
        view.targets,
        view.tagged,
        pooling=section["pooling"],
        r=float(section["r"]),
        valid=inside,
        complete=section.get("complete", True),
    )


def _where_heated(view: View, section: Section) -> Tensor:
    seen = view.heated(section["threshold"], section["background"])
    inside = view.batch.inside[: view.batch.targets]
    return heatmap_loss(view.targets, seen, view.tagged, divisor=section["divisor"], valid=inside)


def _towards_crf(view: View, section: Section) -> Tensor:
    return constrain_loss(view.targets, view.refined(section["preset"], section["iterations"]))


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


def _of_tags(view: View, section: Section) -> Tensor:
    batch = view.batch
    inside = batch.inside[: batch.targets]
    has_background = section.get("background", True)
    return multilabel_soft_margin(
        view.targets, tags_of(batch), inside, complete=section["complete"], background=has_background
    )


def _of_relations(view: View, section: Section) -> Tensor:
    """Ahn et al. (2019) take means over all pairs of a batch. Here each image has its own and counts once."""
    each = zip(view.edge.split(1), view.displacement.split(1), view.cell_labels.split(1), strict=True)
    found = [affinity_displacement(*image, radius=section["radius"]) for image in each]
    return torch.stack([term for terms in found for term in terms.values()]).sum() / (2 * len(found))


def _at_flow_boundaries(view: View, section: Section) -> Tensor:
    batch = view.batch
    believed = batch.flow_valid & batch.inside[batch.target_of]
    each = zip(batch.target_of.tolist(), batch.flow.split(1), believed.split(1), strict=True)
    found = [
        flow_boundary(
            view.edge[target : target + 1],
            flow,
            radius=section["radius"],
            weight_lambda=section["lambda"],
            components=section["components"],
            unit=section["unit"],
            stride=batch.input_size[1] // flow.shape[-1],
            signal=section["signal"],
            valid=valid,
        )
        for target, flow, valid in each
    ]
    return torch.stack(found).mean()


def _as_the_network_says(view: View, section: Section, *, name: str) -> Tensor:
    return view.named[name]


DETECTOR_LOSSES = {
    "objectness": "Proposals: object or not",
    "rpn_box": "Proposals: boxes",
    "classifier": "Detections: classes",
    "box": "Detections: boxes",
    "mask": "Detections: masks",
}
"""The losses of Mask R-CNN, which its network computes itself -> their titles."""


TERMS: tuple[Term, ...] = (
    Term(
        name="partial_cross_entropy",
        title="Partial cross-entropy",
        section="partial_cross_entropy",
        value=_at_clicks,
        mean=lambda section: Mean("clicks"),
        annotation=frozenset({"clicks"}),
        key_when_off=True,
    ),
    Term(
        name="cross_entropy",
        title="Cross-entropy",
        section="cross_entropy",
        value=_at_labelled_pixels,
        mean=lambda section: Mean("labelled_pixels"),
        annotation=frozenset({"masks", "proxies"}),
    ),
    Term(
        name="seed",
        title="Seed",
        section="seed_loss",
        value=_at_cues,
        mean=lambda section: Mean("targets"),
        annotation=frozenset({"masks", "proxies"}),
    ),
    Term(
        name="expand",
        title="Expand",
        section="expand_loss",
        value=_by_presence,
        mean=lambda section: Mean("targets"),
        annotation=frozenset({"masks", "proxies"}),
    ),
    Term(
        name="tag",
        title="Tags",
        section="tag_loss",
        value=_which_classes,
        mean=lambda section: Mean("targets"),
        annotation=frozenset({"tags"}),
    ),
    Term(
        name="heatmap",
        title="Heatmaps",
        section="heatmap_loss",
        value=_where_heated,
        mean=lambda section: Mean("targets"),
        needs=frozenset({"cams"}),
        annotation=frozenset({"tags"}),
    ),
    Term(
        name="constrain",
        title="Constrain to boundaries",
        section="constrain_loss",
        value=_towards_crf,
        mean=lambda section: Mean("targets"),
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
    Term(
        name="multilabel_soft_margin",
        title="Multilabel soft margin",
        section="classifier",
        value=_of_tags,
        mean=lambda section: Mean(
            ("" if section.get("background", True) else "all_")
            + ("classes" if section["complete"] else "tags")
        ),
        annotation=frozenset({"tags"}),
    ),
    Term(
        name="affinity_displacement",
        title="Affinity and displacement",
        section="relation",
        value=_of_relations,
        mean=lambda section: Mean("targets"),
        annotation=frozenset({"confident_labels"}),
    ),
    Term(
        name="flow_boundary",
        title="Boundaries of the flow",
        section="flow_boundary",
        value=_at_flow_boundaries,
        mean=lambda section: Mean("neighbours"),  # a target without a next frame does not count
        needs=frozenset({"flow"}),
        annotation=frozenset({"confident_labels"}),
    ),
    *(
        Term(
            name=name,
            title=title,
            section="detector",
            value=partial(_as_the_network_says, name=name),
            mean=lambda section: Mean("frames"),
            annotation=frozenset({"instances"}),
        )
        for name, title in DETECTOR_LOSSES.items()
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
        if section and term.may_learn(sections) and section["weight"]:
            yield term, section


def needs(sections: Mapping[str, Any]) -> frozenset[str]:
    """Which of `soft_labels`, `flow` and `cams` the active terms use."""
    return frozenset().union(*(term.needs for term, _ in active(sections)))


def learns_from(annotation: str, sections: Mapping[str, Any]) -> bool:
    """Whether an active term learns from an annotation, e.g. `clicks`, `masks`, `proxies` or `tags`."""
    return annotation in learned_from(sections) and any(
        annotation in term.annotation for term, _ in active(sections)
    )


def key_sections(sections: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that the key of a network holds, without what no term reads."""
    on = {term.section for term, _ in active(sections)}
    asked = [
        term.section
        for term in TERMS
        if term.section in on or (term.key_when_off and term.may_learn(sections))
    ]
    held = {name: sections[name] for name in asked if name in sections}
    if "tag_loss" in held and held["tag_loss"].get("pooling", "lse") != "lse":
        held["tag_loss"] = {name: value for name, value in held["tag_loss"].items() if name != "r"}
    return held
