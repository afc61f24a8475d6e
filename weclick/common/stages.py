"""One table of all stages, in the order of the data: what each reads, makes and leaves behind."""

# Long because the table has a row for each stage, and what the rows mean stands beside it.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from weclick.common.sections import TWO_STREAM, Method, Role, Supervision

MODELS = "models"
"""Kind of the store entries that hold a trained network."""


@dataclass(frozen=True)
class MethodStages:
    """What a method learns from, and where it ends.

    Attributes:
        supervisions: that it can learn from; the first is meant where the configuration says null.
        last: the stages whose networks are scored and shown.
    """

    supervisions: tuple[Supervision, ...]
    last: tuple[Role, ...]


PLACED: tuple[Supervision, ...] = ("clicks", "masks", "both", "proxies")
"""Kinds of `supervision` that tell where a class is. Tags do not."""

METHODS: dict[Method, MethodStages] = {
    "weclick": MethodStages(PLACED, last=("student",)),
    "f2f": MethodStages(("proxies",), last=("student",)),
    "two_stream": MethodStages(("tags",), last=("student",)),
    "maskconsist": MethodStages(("tags",), last=("detector",)),
}
"""The methods, in the order in which `serves` lists them."""

SEGMENTING: tuple[Method, ...] = tuple(name for name in METHODS if "student" in METHODS[name].last)
"""Those whose last network gives every pixel a class. That of the others finds instances."""

TAGGED: tuple[Method, ...] = ("f2f", "two_stream", "maskconsist")
"""Those that learn from tags."""


FLOW_KEYS = ("estimator", "options", "stride_px", "on_overflow", "masks", "batch_pairs")
"""Of the section `flow`: what the stage reads. `motion` says how a network looks at what is stored."""


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
        methods: the methods that take it; empty if all do.
        supervisions: the `supervision` of the runs that take it; empty if all do.
    """

    name: str
    reads: tuple[str, ...] = ()
    folder: str = ""
    splits: tuple[Literal["train", "val"], ...] = ()
    sharded: bool = False
    kind: str = ""
    fed_by: tuple[str, ...] = ()
    methods: tuple[Method, ...] = ()
    supervisions: tuple[Supervision, ...] = ()

    @property
    def rule(self) -> str:
        """Name of the Snakemake rule that does the work."""
        return f"{self.name}_shard" if self.sharded else self.name


STAGES = (
    Stage("toy", reads=("data",)),
    Stage(
        "manifest",
        reads=(
            "data",
            "serves",
            "clicks.mix",
            "tags.source",
            "tags.file",
            "window",
            "pair.delta_frames",
            "stack.first",
            "stack.length",
            "evaluate.max_gap_frames",
        ),
        folder="manifest",
        splits=("train", "val"),
        sharded=True,
        fed_by=("toy",),
    ),
    Stage("clicks", reads=("clicks", "seed"), folder="clicks", splits=("train",), fed_by=("manifest",)),
    Stage(
        "tags",
        reads=("tags",),
        folder="tags",
        splits=("train",),
        fed_by=("manifest",),
        methods=TAGGED,
    ),
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
        supervisions=("masks", "both"),
    ),
    Stage(
        "flow",
        reads=(
            "cache",
            "serves",
            *(f"flow.{key}" for key in FLOW_KEYS),
            "window",
            "proxy_labels.gap_frames",
            "proxy_labels.target",
            "pair.delta_frames",
            "stack.first",
            "stack.length",
            "evaluate.max_gap_frames",
        ),
        folder="flow",
        splits=("train", "val"),
        sharded=True,
        kind="flow",
        fed_by=("manifest",),
    ),
    Stage(
        "classifier",
        reads=("cache", "seed", "classifier"),
        folder="classifier",
        splits=("train",),
        kind=MODELS,
        fed_by=("manifest", "tags", "frames"),
        methods=TAGGED,
    ),
    Stage(
        "cams",
        reads=("cache", "data.train", "cams"),
        folder="cams",
        splits=("train",),
        sharded=True,
        kind="cams",
        fed_by=("manifest", "tags", "classifier"),
        methods=TAGGED,
    ),
    Stage(
        "proxy_labels",
        reads=("cache", "proxy_labels"),
        folder="proxy_labels",
        splits=("train",),
        sharded=True,
        kind="proxy_labels",
        fed_by=("manifest", "clicks", "tags", "cams", "flow"),
        supervisions=("proxies",),
    ),
    Stage(
        "confident_labels",
        reads=("cache", "fcam", "confident_labels"),
        folder="confident_labels",
        splits=("train",),
        sharded=True,
        kind="confident_labels",
        fed_by=("manifest", "tags", "cams", "flow"),
        methods=("maskconsist",),
    ),
    Stage(
        "relation",
        reads=("cache", "seed", "relation", "flow_boundary"),
        folder="relation",
        splits=("train",),
        kind=MODELS,
        fed_by=("manifest", "frames", "confident_labels", "flow"),
        methods=("maskconsist",),
    ),
    Stage(
        "instances",
        reads=("cache", "fcam", "instances"),
        folder="instances",
        splits=("train",),
        sharded=True,
        kind="instances",
        fed_by=("manifest", "clicks", "tags", "cams", "flow", "relation"),
        methods=("maskconsist",),
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
            "seed_loss",
            "expand_loss",
            "constrain_loss",
            "gated_crf",
        ),
        folder="teacher",
        splits=("train",),
        kind=MODELS,
        fed_by=("manifest", "clicks", "frames", "masks", "proxy_labels"),
        methods=("weclick",),
    ),
    Stage(
        "soft_labels",
        reads=("cache", "soft_labels"),
        folder="soft_labels",
        splits=("train",),
        sharded=True,
        kind="soft_labels",
        fed_by=("manifest", "flow", "teacher"),
        methods=("weclick",),
    ),
    Stage(
        "student",
        reads=(
            "cache",
            "seed",
            "student",
            "window",
            "stack",
            "flow.motion",
            "supervision",
            "annotation",
            "partial_cross_entropy",
            "cross_entropy",
            "seed_loss",
            "expand_loss",
            "tag_loss",
            "heatmap_loss",
            "constrain_loss",
            "gated_crf",
            "mfd",
            "kd",
        ),
        folder="student",
        splits=("train",),
        kind=MODELS,
        fed_by=(
            "manifest",
            "clicks",
            "tags",
            "frames",
            "masks",
            "proxy_labels",
            "cams",
            "flow",
            "soft_labels",
        ),
        methods=SEGMENTING,
    ),
    Stage(
        "detector",
        reads=("cache", "seed", "pair", "detector", "maskconsist"),
        folder="detector",
        splits=("train",),
        kind=MODELS,
        fed_by=("manifest", "frames", "instances", "flow"),
        methods=("maskconsist",),
    ),
    Stage(
        "evaluate",
        reads=("cache", "evaluate"),
        folder="evaluation",
        splits=("val",),
        fed_by=("manifest", "clicks", "flow", "teacher", "student", "detector"),
    ),
    Stage("report"),  # shows the whole configuration
    Stage("lock"),
    Stage("experiment"),  # plans with the whole configuration
    Stage("ablation"),
)

NEEDED_BY = {"flow": ("mfd",), "soft_labels": ("kd", "mfd"), "cams": ("heatmap_loss",)}
"""Stage -> the losses that need it. A student whose losses have no weight is not fed by it; see also
`looks_at_stacks`."""

READ_FOR: dict[str, Method] = {
    "window": "weclick",
    "proxy_labels": "f2f",
    "pair": "maskconsist",
    "stack": "two_stream",
}
"""Sections that stages which read `serves` read for one method alone, if that is served."""

STUDENT_READS_WITH: dict[str, Method] = dict.fromkeys(
    ("stack", "flow", "tag_loss", "heatmap_loss"), "two_stream"
)
"""Sections that a student reads with one method alone."""

MADE_FOR: dict[str, str] = {"tags": "f2f", "classifier": "f2f", "cams": "f2f"}
"""Stages that a run of the method f2f takes only with one `proxy_labels.source`."""

MAPPED = ("classifier", "cams")
"""Stages that a run of the method two_stream takes only if `heatmap_loss` has a weight."""

RELATED = ("tags", "classifier", "cams", "confident_labels", "relation")
"""Stages that a run of the method maskconsist takes only if tags or clicks make its `instances`."""

STEPS = tuple(stage for stage in STAGES if stage.folder)
"""The stages that lead from the data to the scores. A plan covers them, and a lock pins their code down."""

INDEXED = tuple(stage for stage in STEPS if stage.sharded and stage.kind)
"""The steps that make a store entry for each clip, and leave indexes: clip id -> key."""

ROLES: tuple[Role, ...] = get_args(Role)
"""The networks that are trained, each by the stage of the same name."""

SCORED: tuple[Role, ...] = ("teacher", "student")
"""Those that give every pixel a class. Evaluation scores them, and reports show their scores."""

KINDS = (*(stage.kind for stage in INDEXED), MODELS)
"""Kinds of store entries."""

WEIGHTS, CARD, METRICS = "model.safetensors", "model.json", "metrics.jsonl"
"""Files that a training leaves in its folder: the network, its model card, and its log."""

SCORES = "metrics.json"
"""File of an evaluation; its folder also holds the pictures that it names."""

INSTANCE_SCORES = "instance_metrics.json"
"""What data_schema/results.schema.json calls that file of a run that finds instances."""


def taken_by(config: Mapping[str, Any], stages: Iterable[Stage] = STEPS) -> tuple[Stage, ...]:
    """Those of some stages that a run takes. This alone decides which stages a run has.

    Args:
        config: of the run; one that knows no `method` or `supervision` yet is WeClick's, and learns from
            clicks. One that knows no `proxy_labels` has the default source, f2f, and one that knows no
            `heatmap_loss` learns from maps.
        stages: in the order of the data.
    """
    method = config.get("method", "weclick")
    supervision = config.get("supervision") or METHODS[method].supervisions[0]
    needless = _needless(method, config)
    return tuple(
        stage
        for stage in stages
        if method in (stage.methods or METHODS)
        and supervision in (stage.supervisions or (supervision,))
        and stage.name not in needless
    )


def _needless(method: Method, config: Mapping[str, Any]) -> set[str]:
    """Stages of a method whose files nothing of a configuration would read."""
    if method == "f2f":
        source = config.get("proxy_labels", {}).get("source", "f2f")
        return {stage for stage, wanted_by in MADE_FOR.items() if wanted_by != source}
    if method == "two_stream" and not config.get("heatmap_loss", {"weight": 1})["weight"]:
        return set(MAPPED)
    if method == "maskconsist" and config.get("instances", {}).get("source") in ("masks", "network"):
        return set(RELATED)
    return set()


def takes(config: Mapping[str, Any], name: str) -> bool:
    """Whether a run takes the stage of a name, see `taken_by`."""
    return name in {stage.name for stage in taken_by(config, STAGES)}


def learns_from_clicks(config: Mapping[str, Any]) -> bool:
    """Whether clicks teach a run's networks, or make the proxy labels or instances that do.

    Args:
        config: complete.
    """
    if config["method"] == "maskconsist":
        return bool(config["instances"]["source"] == "clicks")
    if config["supervision"] == "proxies":
        return bool(config["proxy_labels"]["source"] == "sam2")
    return bool(config["supervision"] != "tags")


def does_without_clicks(config: Mapping[str, Any]) -> bool:
    """Whether a run may have targets without a click: tags made them, and no network learns from clicks.

    Args:
        config: complete.
    """
    return config["tags"]["source"] != "labels" and not learns_from_clicks(config)


def looks_at_stacks(config: Mapping[str, Any]) -> bool:
    """Whether the student of a run looks at stacks of flow."""
    student = config.get("student", {})
    return student.get("architecture") == TWO_STREAM and student["fusion"] != "none"


def looks_at_maps(config: Mapping[str, Any]) -> bool:
    """Whether the student of a run learns from class activation maps themselves, not from labels of these."""
    return (
        takes(config, "student")
        and config.get("supervision") == "tags"
        and bool(config["heatmap_loss"]["weight"])
    )


def losses_off(config: Mapping[str, Any]) -> frozenset[str]:
    """The losses that a student does without: the run takes no stage that makes what they need.

    A teacher in the training's loop (`student.online`) needs no such stage.

    Args:
        config: of the run; a part without a method has lost these losses before.
    """
    if "method" not in config or config["student"]["online"]["teacher"]:
        return frozenset()
    return frozenset(
        loss for stage, losses in NEEDED_BY.items() if not takes(config, stage) for loss in losses
    )
