"""One table of all stages, in the order of the data: what each reads, makes and leaves behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from weclick.common.sections import Role

MODELS = "models"
"""Kind of the store entries that hold a trained network."""


@dataclass(frozen=True)
class Stage:
    """A stage of the workflow.

    Attributes:
        name: also the name of its rule file, its verb and its section of the configuration.
        reads: the sections of the configuration that it may read, or single keys as `section.key`. If one
            of them changes, the stage runs again.
        folder: holds its files, inside the results folder; empty if the stage is no step from the data to
            the scores.
        splits: keys of the section `data` that name the splits it works on.
        sharded: whether it writes one file for each shard of a split.
        kind: of the store entries that it makes; empty if it makes none.
        fed_by: the stages whose files its rule reads. See also NEEDED_BY.
        unless: the `supervision` of a run that needs no such stage; empty if all need it.
    """

    name: str
    reads: tuple[str, ...] = ()
    folder: str = ""
    splits: tuple[Literal["train", "val"], ...] = ()
    sharded: bool = False
    kind: str = ""
    fed_by: tuple[str, ...] = ()
    unless: str = ""

    @property
    def rule(self) -> str:
        """Name of the Snakemake rule that does the work."""
        return f"{self.name}_shard" if self.sharded else self.name


STAGES = (
    Stage("toy", reads=("data",)),
    Stage(
        "manifest",
        reads=("data", "clicks.mix", "window", "evaluate.max_gap_frames"),
        folder="manifest",
        splits=("train", "val"),
        sharded=True,
        fed_by=("toy",),
    ),
    Stage("clicks", reads=("clicks", "seed"), folder="clicks", splits=("train",), fed_by=("manifest",)),
    Stage(
        "frames",
        reads=("cache", "frames"),
        folder="frames",
        splits=("train",),
        sharded=True,
        kind="frames",
        fed_by=("manifest",),
    ),
    Stage(
        "masks",
        reads=("cache", "masks"),
        folder="masks",
        splits=("train",),
        sharded=True,
        kind="masks",
        fed_by=("manifest",),
        unless="clicks",
    ),
    Stage(
        "flow",
        reads=("cache", "flow", "window", "evaluate.max_gap_frames"),
        folder="flow",
        splits=("train", "val"),
        sharded=True,
        kind="flow",
        fed_by=("manifest",),
    ),
    Stage(
        "teacher",
        reads=(
            "cache",
            "seed",
            "teacher",
            "supervision",
            "annotation",
            "partial_cross_entropy",
            "cross_entropy",
            "gated_crf",
        ),
        folder="teacher",
        splits=("train",),
        kind=MODELS,
        fed_by=("manifest", "clicks", "frames", "masks"),
    ),
    Stage(
        "soft_labels",
        reads=("cache", "soft_labels"),
        folder="soft_labels",
        splits=("train",),
        sharded=True,
        kind="soft_labels",
        fed_by=("manifest", "flow", "teacher"),
    ),
    Stage(
        "student",
        reads=(
            "cache",
            "seed",
            "student",
            "window",
            "supervision",
            "annotation",
            "partial_cross_entropy",
            "cross_entropy",
            "gated_crf",
            "mfd",
            "kd",
        ),
        folder="student",
        splits=("train",),
        kind=MODELS,
        fed_by=("manifest", "clicks", "frames", "masks", "flow", "soft_labels"),
    ),
    Stage(
        "evaluate",
        reads=("cache", "evaluate"),
        folder="evaluation",
        splits=("val",),
        fed_by=("manifest", "clicks", "flow", "teacher", "student"),
    ),
    Stage("report"),  # shows the whole configuration
    Stage("lock"),
    Stage("experiment"),  # plans with the whole configuration
    Stage("ablation"),
)

NEEDED_BY = {"flow": ("mfd",), "soft_labels": ("kd", "mfd")}
"""Stage -> the losses that need it. A student whose losses have no weight is not fed by it."""

STEPS = tuple(stage for stage in STAGES if stage.folder)
"""The stages that lead from the data to the scores. A plan covers them, and a lock pins their code down."""

INDEXED = tuple(stage for stage in STEPS if stage.sharded and stage.kind)
"""The steps that make a store entry for each clip, and leave indexes: clip id -> key."""

ROLES: tuple[Role, ...] = get_args(Role)
"""The networks that are trained, each by the stage of the same name."""

KINDS = (*(stage.kind for stage in INDEXED), MODELS)
"""Kinds of store entries."""

WEIGHTS, CARD, METRICS = "model.safetensors", "model.json", "metrics.jsonl"
"""Files that a training leaves in its folder: the network, its model card, and its log."""

SCORES = "metrics.json"
"""File of an evaluation; its folder also holds the pictures that it names."""


def taken_by(config: Mapping[str, Any], stages: Iterable[Stage] = STEPS) -> tuple[Stage, ...]:
    """Those of some stages that a run takes.

    Args:
        config: of the run; one that knows no `supervision` yet learns from clicks.
        stages: in the order of the data.
    """
    supervision = config.get("supervision", "clicks")
    return tuple(stage for stage in stages if stage.unless != supervision)
