"""What the training of each role needs, a row each. The loop and the objective know no roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from weclick.common.sections import TWO_STREAM, ClassifierSection, StudentSection, TeacherSection
from weclick.geometry import StackOptions
from weclick.models import SegmentationNetwork, build_classifier, build_detector, build_model, build_relation
from weclick.models.detector import Detector
from weclick.models.relation import Relation
from weclick.store.index import WINDOW
from weclick.train.data.neighbours import NEXT, Neighbours, OneApart
from weclick.train.settle import measure_mean_shift

Network = SegmentationNetwork | Relation | Detector
"""What the trainer trains."""

Sections = Mapping[str, Any]
"""Sections of a configuration, by name."""


@dataclass(frozen=True)
class RoleNeeds:
    """A row of the table.

    Attributes:
        build: gives the network of the role's section of the configuration, a number of classes K, and what
            the backbone begins with (`pretrained` of `build_model`); of a network of two streams also
            `stack_length`.
        caches: kinds of the store entries that it may read. Losses and `supervision` say which it reads.
        neighbours: whether its losses may use the neighbours of a target, with flow and soft labels.
        learns_from: what it learns from alone, whatever `supervision` says: `tags`, or a kind of entries.
            Empty: `supervision` decides.
        figure: the score by which validations find the best weights; empty if it is not scored in training.
        scoring: modules that compute this score.
        losses: gives the sections of its losses, as terms read them, of a role that has some of its own.
        window: gives its neighbours, if that is not the section `window`.
        flow_need: of the flow that it reads, see `weclick.manifest.needs`.
        settle: what is measured after the training, and changes the network. It gets the network, the
            manifest with the targets, the caches, and the device.
    """

    build: Callable[..., Network]
    caches: tuple[str, ...]
    neighbours: bool = False
    learns_from: str = ""
    figure: str = "miou"
    scoring: tuple[str, ...] = ("weclick.evaluate.scores", "weclick.common.spread")
    losses: Callable[[Sections], dict[str, Any]] | None = None
    window: Callable[[Sections], Neighbours] | None = None
    flow_need: str = WINDOW
    settle: Callable[..., None] | None = None

    @property
    def tags(self) -> bool:
        """Whether it learns from tags alone."""
        return self.learns_from == "tags"


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


def _build_relation(options: Mapping[str, Any], num_classes: int, pretrained: str | None) -> Relation:
    return build_relation(options["backbone"], pretrained=pretrained)


def _losses_of_relation(config: Sections) -> dict[str, Any]:
    radius = config["relation"]["radius"]
    own = {"supervision": "confident_labels", "relation": {"weight": 1.0, "radius": radius}}
    along_flow = config.get("flow_boundary", {"weight": 0})
    return own | ({"flow_boundary": {**along_flow, "radius": radius}} if along_flow["weight"] else {})


def _build_detector(options: Mapping[str, Any], num_classes: int, pretrained: str | None) -> Detector:
    return build_detector(
        options["backbone"],
        num_classes,
        pretrained=pretrained,
        channels=options["channels"],
        batch_norm=options["batch_norm"],
        output_stride=options["output_stride"],
        min_score=options["min_score"],
        nms=options["nms"],
        detections=options["detections"],
        proposals=options["proposals"],
        anchors_px=options["anchors_px"],
        rois=options["rois"],
    )


ROLE_NEEDS: dict[str, RoleNeeds] = {
    "classifier": RoleNeeds(
        build=_build_classifier,
        caches=("frames",),
        learns_from="tags",
        figure="mean_average_precision",
        scoring=("weclick.evaluate.tagged",),
    ),
    "teacher": RoleNeeds(build=build_network, caches=("frames", "masks", "proxy_labels")),
    "student": RoleNeeds(
        build=build_network,
        caches=("frames", "masks", "proxy_labels", "cams", "flow", "soft_labels"),
        neighbours=True,
    ),
    "relation": RoleNeeds(
        build=_build_relation,
        caches=("frames", "confident_labels", "flow"),
        neighbours=True,
        learns_from="confident_labels",
        figure="",
        scoring=(),
        losses=_losses_of_relation,
        window=lambda config: NEXT,
        flow_need="step",
        settle=measure_mean_shift,
    ),
    "detector": RoleNeeds(
        build=_build_detector,
        caches=("frames", "instances", "flow"),
        neighbours=True,
        learns_from="instances",
        figure="",
        scoring=(),
        losses=lambda config: {"supervision": "instances", "detector": {"weight": 1.0}},
        window=lambda config: OneApart(config["pair"]["delta_frames"]),
        flow_need="pair",
    ),
}
"""Role -> what its training needs. A role is also a stage, and a section of the configuration."""
