"""Gathers the results of a run for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weclick.clicks.table import read_clicks
from weclick.clicks.tags import SourcedTags, read_tags
from weclick.common import stages
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import is_inside, read_json
from weclick.common.sections import Config, Role
from weclick.common.stages import CARD, INSTANCE_SCORES, METHODS, SCORES, looks_at_stacks, takes
from weclick.evaluate.instances.quality import read_instance_quality
from weclick.evaluate.proxy_quality import read_quality
from weclick.manifest import Manifest, read_manifests
from weclick.manifest.click_table import ClickTable
from weclick.runs.cam_source import trains_classifier
from weclick.runs.layout import SUMMARY, Layout
from weclick.runs.teachers import trains_teacher
from weclick.store import read_index
from weclick.store.index import STACK
from weclick.train.log import read_metrics

ROLES = stages.SCORED[::-1]
"""The student comes first, since a run is about its scores."""


@dataclass(frozen=True)
class InstanceResults:
    """What a run that trains a detector made for it, of the training split.

    Attributes:
        made: clip id -> key of its instances.
        confident_labels: clip id -> key of its confident labels; empty if the run takes none.
        relation: model.json of the network of relations; None if the run trains none.
        relation_curve: lines of its metrics.jsonl.
        step: clip id -> key of the flow from each frame to the next one; empty if nothing follows another.
        quality: of them beside the truth, see `rated` in evaluate/instances/quality.py; empty where none is.
    """

    made: Mapping[str, str]
    confident_labels: Mapping[str, str] = field(default_factory=dict)
    relation: Mapping[str, Any] | None = None
    relation_curve: Sequence[Mapping[str, Any]] = ()
    step: Mapping[str, str] = field(default_factory=dict)
    quality: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Results:
    """The results of a run, as read from its folder.

    Attributes:
        folder: of the results.
        train: manifest of the split that the networks learned from.
        val: manifest of the split that they were scored on.
        clicks: on the targets of `train`.
        flow: split -> clip id -> key of its flow entry; empty if nothing has a neighbour.
        frames: clip id of `train` -> key of its frames; empty if the stage has not run.
        soft_labels: clip id of `train` -> key of its soft labels; empty if the stage has not run.
        evaluation: metrics.json of the evaluation, the student's figures at its top.
        models: role -> model.json; the teacher may be missing.
        curves: role -> lines of metrics.jsonl.
        ablation: summary.json, or None.
        tags: of the training split; None if the run takes no tags.
        classifier: its model.json; None if the run trains none.
        classifier_curve: lines of its metrics.jsonl.
        chain: clip id of `train` -> key of its flow along runs of frames; empty if no label is made of it.
        stack: split -> clip id -> key of the flow that a student of two streams looks at; empty without one.
        cams: clip id of `train` -> key of its class activation maps; empty if the run takes none.
        proxy_labels: clip id of `train` -> key of its proxy labels; empty if the run takes none.
        quality: of the proxy labels, a row for each class, see `proxy_quality`; empty where no truth is.
        role: of the network that the run is about. Its figures stand at the top of `evaluation`.
        instances: what a run that trains a detector made of tags or clicks, see `InstanceResults`;
            None for others.
    """

    folder: Path
    train: Manifest
    val: Manifest
    clicks: ClickTable
    flow: Mapping[str, Mapping[str, str]]
    frames: Mapping[str, str]
    soft_labels: Mapping[str, str]
    evaluation: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    curves: Mapping[str, list[dict[str, Any]]]
    ablation: Mapping[str, Any] | None
    tags: SourcedTags | None = None
    classifier: Mapping[str, Any] | None = None
    classifier_curve: Sequence[Mapping[str, Any]] = ()
    chain: Mapping[str, str] = field(default_factory=dict)
    stack: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    cams: Mapping[str, str] = field(default_factory=dict)
    proxy_labels: Mapping[str, str] = field(default_factory=dict)
    quality: Sequence[Mapping[str, Any]] = ()
    role: Role = "student"
    instances: InstanceResults | None = None

    @property
    def layout(self) -> Layout:
        """The places of its files."""
        return Layout(self.folder)

    def scores(self, role: str) -> Mapping[str, Any]:
        """A network's part of metrics.json; empty if it was not scored."""
        return self.evaluation if role == self.role else self.evaluation.get(role, {})


def read_results(folder: Path, config: Config) -> Results:
    """Read what the stages wrote.

    Args:
        folder: results folder of the run.
        config: the complete configuration; `data` names splits and shards.

    Raises:
        MissingFileError: a file that the page needs is missing; the message names the stage that writes it.
        InputError: a file is not what its stage writes.
    """
    data, layout = config["data"], Layout(folder)
    train, val = data["train"], data["val"]
    shown = trains_teacher(config) and layout.card("teacher").is_file()  # one of before may lie there
    last = METHODS[config["method"]].last[0]
    roles = [role for role in ROLES if role == "student" or shown] if last == "student" else [last]
    soft_labels = layout.found("soft_labels", train) if takes(config, "soft_labels") else []
    summary = layout.ablation / SUMMARY
    return Results(
        folder=folder,
        train=_manifest(layout.shards("manifest", train, data["shards"])),
        val=_manifest(layout.shards("manifest", val, data["shards"])),
        clicks=read_clicks(require(layout.clicks(train), "clicks")),
        flow={
            split: read_index(layout.found("flow", split), "flow") for split in dict.fromkeys((train, val))
        },
        frames=read_index(layout.found("frames", train), "frames"),
        soft_labels=read_index(soft_labels, "soft_labels"),
        evaluation=_evaluation(require(layout.scores, "evaluate"), (*ROLES, last)),
        models={role: read_json(require(layout.card(role), role), role, CARD) for role in roles},
        curves={role: [*read_metrics(require(layout.curves(role), role))] for role in roles},
        ablation=read_json(summary, "ablation", SUMMARY) if summary.is_file() else None,
        **_of_proxies(layout, config),
        role=last,
        instances=_of_instances(layout, config) if takes(config, "instances") else None,
    )


def _of_proxies(layout: Layout, config: Config) -> dict[str, Any]:
    """The attributes of `Results` of methods that begin with tags, as far as the run takes these."""
    data, found = config["data"], dict[str, Any]()

    def indexes(stage: str) -> list[Path]:
        return [require(path, stage) for path in layout.shards(stage, data["train"], data["shards"])]

    if takes(config, "tags"):
        found["tags"] = read_tags(require(layout.tags(data["train"]), "tags"))
    if trains_classifier(config):
        found["classifier"] = read_json(require(layout.card("classifier"), "classifier"), "classifier", CARD)
        curve = require(layout.curves("classifier"), "classifier")
        found["classifier_curve"] = [*read_metrics(curve)]
    if takes(config, "cams"):
        found["cams"] = read_index(indexes("cams"), "cams")
    if takes(config, "cams") and takes(config, "proxy_labels"):
        found["chain"] = read_index(layout.found("flow", data["train"]), "flow", need="chain")
    if looks_at_stacks(config):
        found["stack"] = {
            split: read_index(layout.found("flow", split), "flow", need=STACK)
            for split in dict.fromkeys((data["train"], data["val"]))
        }
    if takes(config, "proxy_labels"):
        found["proxy_labels"] = read_index(indexes("proxy_labels"), "proxy_labels")
        found["quality"] = read_quality(indexes("proxy_labels"))
    return found


def _of_instances(layout: Layout, config: Config) -> InstanceResults:
    train, shards = config["data"]["train"], config["data"]["shards"]

    def indexes(stage: str) -> list[Path]:
        return [require(path, stage) for path in layout.shards(stage, train, shards)]

    found = dict[str, Any]()
    if takes(config, "confident_labels"):
        found["confident_labels"] = read_index(indexes("confident_labels"), "confident_labels")
    if takes(config, "relation"):
        found["relation"] = read_json(require(layout.card("relation"), "relation"), "relation", CARD)
        found["relation_curve"] = [*read_metrics(require(layout.curves("relation"), "relation"))]
    return InstanceResults(
        made=read_index(indexes("instances"), "instances"),
        step=read_index(layout.found("flow", train), "flow", need="step"),
        quality=read_instance_quality(indexes("instances")),
        **found,
    )


def require(path: Path, stage: str) -> Path:
    """The path, if there is such a file.

    Raises:
        MissingFileError: there is none; the message names the stage that writes it.
    """
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there is no such file, but the report needs it; run the stage {stage} first: "
            f"`weclick run CONFIG`, or `weclick {stage}`"
        )
    return path


def _manifest(paths: Sequence[Path]) -> Manifest:
    return read_manifests([require(path, "manifest") for path in paths])


def _evaluation(path: Path, roles: Sequence[Role]) -> dict[str, Any]:
    evaluation = read_json(path, "evaluate", SCORES if roles[-1] == "student" else INSTANCE_SCORES)
    for example in evaluation.get("examples", []):
        for name in (example[role] for role in roles if role in example):
            if not is_inside(name):
                raise InputError(
                    f"{path}: names the picture {name!r}, which leads out of its folder; the file was "
                    "edited: run the evaluate stage of that run again"
                )
    return evaluation
