"""What a run left in its results folder, gathered for the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.clicks.table import ClickTable, read_clicks
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import is_inside, read_json
from weclick.common.sections import Config
from weclick.manifest import Manifest, read_manifests
from weclick.store import read_index
from weclick.train.log import read_metrics

ROLES = ("student", "teacher")


@dataclass(frozen=True)
class Results:
    """A run, read.

    Attributes:
        folder: of the results.
        train: manifest of the split that the networks learned from.
        val: manifest of the split that they were scored on.
        clicks: on the targets of `train`.
        flow: split -> clip id -> key of its flow entry; empty where nothing has a neighbour.
        frames: clip id of `train` -> key of its frames; empty where the stage has not run.
        soft_labels: clip id of `train` -> key of its soft labels; empty likewise.
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

    def scores(self, role: str) -> Mapping[str, Any]:
        """A network's part of metrics.json; empty where it was not scored."""
        return self.evaluation if role == "student" else self.evaluation.get(role, {})


def read_results(folder: Path, config: Config) -> Results:
    """Read what the stages wrote.

    Args:
        folder: results folder of the run.
        config: the complete configuration; `data` names splits and shards.

    Raises:
        MissingFileError: a file that the page needs is missing; says which stage writes it.
        InputError: a file is not what its stage writes.
    """
    data = config["data"]
    roles = [role for role in ROLES if role == "student" or (folder / role / "model.json").is_file()]
    summary = folder / "ablation" / "summary.json"
    return Results(
        folder=folder,
        train=_manifest(folder, data["train"], data["shards"]),
        val=_manifest(folder, data["val"], data["shards"]),
        clicks=read_clicks(require(folder / "clicks" / f"{data['train']}.h5", "clicks")),
        flow={split: _index(folder, "flow", split) for split in dict.fromkeys((data["train"], data["val"]))},
        frames=_index(folder, "frames", data["train"]),
        soft_labels=_index(folder, "soft_labels", data["train"]),
        evaluation=_evaluation(require(folder / "evaluation" / "metrics.json", "evaluate")),
        models={
            role: read_json(require(folder / role / "model.json", role), role, "model.json") for role in roles
        },
        curves={role: [*read_metrics(require(folder / role / "metrics.jsonl", role))] for role in roles},
        ablation=read_json(summary, "ablation", "summary.json") if summary.is_file() else None,
    )


def require(path: Path, stage: str) -> Path:
    """The path, if there is such a file.

    Raises:
        MissingFileError: there is none; names the stage that writes it.
    """
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there is no such file, but the report needs it; run the stage {stage} first: "
            f"`snakemake --cores 8 all`, or `weclick {stage}`"
        )
    return path


def _manifest(folder: Path, split: str, shards: int) -> Manifest:
    paths = [folder / "manifest" / split / f"{shard}.json" for shard in range(shards)]
    return read_manifests([require(path, "manifest") for path in paths])


def _index(folder: Path, stage: str, split: str) -> dict[str, str]:
    return read_index(sorted((folder / stage / split).glob("*.json")), stage)


def _evaluation(path: Path) -> dict[str, Any]:
    evaluation = read_json(path, "evaluate", "metrics.json")
    for example in evaluation.get("examples", []):
        for name in (example[role] for role in ROLES if role in example):
            if not is_inside(name):
                raise InputError(
                    f"{path}: names the picture {name!r}, which leads out of its folder; the file was "
                    "edited: run the evaluate stage of that run again"
                )
    return evaluation
