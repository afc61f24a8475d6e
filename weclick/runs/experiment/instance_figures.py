"""Figures of trials that find instances: scores of a detector, and of pseudo-labels that it learns from."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

from weclick.common import words
from weclick.common.files import read_json
from weclick.common.stages import INSTANCE_SCORES
from weclick.evaluate.instances.quality import read_instance_quality
from weclick.runs.experiment.lineage import Job
from weclick.runs.experiment.plan import Plan, Trial
from weclick.train.log import read_metrics

LATE = 0.4
"""Share of a training, at its end, over which labels are counted: early predictions complete nothing."""

Figures = dict[str, Any]
"""Figure -> its value; None or NaN if it is not known."""

_OF_SCORES = {
    "ap50": "AP50",
    "ap": "AP",
    "semantic_miou": "semantic_miou",
    "temporal_consistency": "temporal_consistency",
}
"""Figure -> its name in the scores of a detector."""


def instance_figures(plan: Plan, trial: Trial) -> Figures:
    """The scores of a trial of the kind `FINDS`.

    Raises:
        MissingFileError, InputError: a file of the trial is missing or damaged; its stage is named.
    """
    (labels,) = (job for job in trial.network.all().values() if job.stage == "instances")
    told = _quality(plan, labels)
    of_labels = {"label_ap50": told.get("AP50"), "label_recall50": told.get("recall50")}
    if trial.of_labels:
        return {"ap50": told.get("AP50"), **of_labels}
    scores = read_json(plan.home(trial.evaluation).scores, "evaluate", INSTANCE_SCORES)["instances"]
    return {
        **{figure: scores.get(name) for figure, name in _OF_SCORES.items()},
        **of_labels,
        **_late_labels(plan, trial.network),
    }


def _quality(plan: Plan, labels: Job) -> Mapping[str, Any]:
    """What the stage wrote of the quality of all its shards; nothing if no training frame has truth."""
    data = labels.config["data"]
    rated = read_instance_quality(plan.home(labels).shards("instances", data["train"], data["shards"]))
    return rated[0] if rated else {}


def _late_labels(plan: Plan, detector: Job) -> Figures:
    """Labels a frame late in a training, before and after MaskConsist; None of one without it."""
    lines = list(read_metrics(plan.home(detector).curves("detector")))
    first = (1 - LATE) * max((line["step"] for line in lines), default=0)
    late = [line for line in lines if line["step"] > first]
    return {name: _mean([line.get(name) for line in late]) for name in ("labels_given", "labels_used")}


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if words.known(value)]
    return mean(known) if known else None
