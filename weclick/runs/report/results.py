"""Gathers the results of a run for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.clicks.table import read_clicks
from weclick.common import stages
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import is_inside, read_json
from weclick.common.sections import Config
from weclick.common.stages import CARD, SCORES, takes
from weclick.manifest import Manifest, read_manifests
from weclick.manifest.click_table import ClickTable
from weclick.runs.layout import SUMMARY, Layout
from weclick.runs.teachers import trains_teacher
from weclick.store import read_index
from weclick.train.log import read_metrics

ROLES = stages.ROLES[::-1]
"""The student comes first, since a run is about its scores."""


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

    @property
    def layout(self) -> Layout:
        """The places of its files."""
        return Layout(self.folder)

    def scores(self, role: str) -> Mapping[str, Any]:
        """A network's part of metrics.json; empty if it was not scored."""
        return self.evaluation if role == "student" else self.evaluation.get(role, {})


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
    roles = [role for role in ROLES if role == "student" or shown]
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
        evaluation=_evaluation(require(layout.scores, "evaluate")),
        models={role: read_json(require(layout.card(role), role), role, CARD) for role in roles},
        curves={role: [*read_metrics(require(layout.curves(role), role))] for role in roles},
        ablation=read_json(summary, "ablation", SUMMARY) if summary.is_file() else None,
    )


def require(path: Path, stage: str) -> Path:
    """The path, if there is such a file.

    Raises:
        MissingFileError: there is none; the message names the stage that writes it.
    """
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there is no such file, but the report needs it; run the stage {stage} first: "
            f"`snakemake --cores 8 all`, or `weclick {stage}`"
        )
    return path


def _manifest(paths: Sequence[Path]) -> Manifest:
    return read_manifests([require(path, "manifest") for path in paths])


def _evaluation(path: Path) -> dict[str, Any]:
    evaluation = read_json(path, "evaluate", SCORES)
    for example in evaluation.get("examples", []):
        for name in (example[role] for role in ROLES if role in example):
            if not is_inside(name):
                raise InputError(
                    f"{path}: names the picture {name!r}, which leads out of its folder; the file was "
                    "edited: run the evaluate stage of that run again"
                )
    return evaluation
