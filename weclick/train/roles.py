"""What the training of each role needs, a row each. The loop and the objective know no roles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from weclick.common.sections import TWO_STREAM, ClassifierSection, StudentSection, TeacherSection
from weclick.geometry import StackOptions
from weclick.models import SegmentationNetwork, build_classifier, build_model


@dataclass(frozen=True)
class RoleNeeds:
    """A row of the table.

    Attributes:
        build: gives the network of the role's section of the configuration, a number of classes K, and what
            the backbone begins with (`pretrained` of `build_model`); of a network of two streams also
            `stack_length`.
        caches: kinds of the store entries that it may read. Losses and `supervision` say which it reads.
        neighbours: whether its losses may use the neighbours of a target, with flow and soft labels.
        tags: whether it learns from tags alone, whatever `supervision` says.
        figure: the score by which validations find the best weights.
        scoring: modules that compute this score.
    """

    build: Callable[..., SegmentationNetwork]
    caches: tuple[str, ...]
    neighbours: bool = False
    tags: bool = False
    figure: str = "miou"
    scoring: tuple[str, ...] = ("weclick.evaluate.scores", "weclick.common.spread")


def build_network(
    options: TeacherSection | StudentSection,
    num_classes: int,
    pretrained: str | None = None,
    *,
    stack_length: int = StackOptions().length,
) -> SegmentationNetwork:
    """The network that a section of the configuration describes, with random or pretrained weights.

    Args:
        options: the section `teacher` or `student`.
        num_classes: K.
        pretrained: see `build_model`.
        stack_length: flows that a network of two streams looks at.
    """
    more: dict[str, Any] = {}
    if options["architecture"] == TWO_STREAM:
        section = cast("StudentSection", options)
        more = {name: section[name] for name in ("fusion", "late_fusion")}
        more |= {} if section["fusion"] == "none" else {"stack_length": stack_length}
    return build_model(
        options["architecture"],
        options["backbone"],
        num_classes,
        pretrained=pretrained,
        channels=options["channels"],
        batch_norm=options["batch_norm"],
        head_norm=options["head_norm"],
        output_stride=options["output_stride"],
        auxiliary_head=options["auxiliary_head"],
        dropout=options["dropout"],
        **more,
    )


def _build_classifier(
    options: ClassifierSection, num_classes: int, pretrained: str | None
) -> SegmentationNetwork:
    return build_classifier(
        options["backbone"],
        num_classes,
        pretrained=pretrained,
        hidden=options["hidden"],
        batch_norm=options["batch_norm"],
        output_stride=options["output_stride"],
        dropout=options["dropout"],
        freeze=options["freeze"],
    )


ROLE_NEEDS: dict[str, RoleNeeds] = {
    "classifier": RoleNeeds(
        build=_build_classifier,
        caches=("frames",),
        tags=True,
        figure="mean_average_precision",
        scoring=("weclick.evaluate.tagged",),
    ),
    "teacher": RoleNeeds(build=build_network, caches=("frames", "masks", "proxy_labels")),
    "student": RoleNeeds(
        build=build_network,
        caches=("frames", "masks", "proxy_labels", "cams", "flow", "soft_labels"),
        neighbours=True,
    ),
}
"""Role -> what its training needs. A role is also a stage, and a section of the configuration."""
