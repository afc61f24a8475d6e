"""The files of an experiment: summary.json and the page, written and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weclick.common.errors import InputError
from weclick.common.files import read_json, write_text
from weclick.common.schemas import schema_fault
from weclick.common.strict_json import strict_json
from weclick.runs.experiment.arms import Arm
from weclick.runs.experiment.gather import Gathered
from weclick.runs.experiment.kinds import KINDS
from weclick.runs.experiment.origin import origin, shared_config
from weclick.runs.experiment.page import write_page
from weclick.runs.experiment.plan import Plan
from weclick.runs.experiment.summary import results
from weclick.runs.layout import PAGE, SUMMARY, Layout
from weclick.store import Store

SCHEMA_VERSION = 1


def write_experiment(plan: Plan, store: Store, device: str) -> Path:
    """Sum up the trials of an experiment, and write its summary and its page.

    Args:
        plan: whose trials have all been made.
        store: holds their entries.
        device: cpu or cuda, the machine's part that is told.

    Returns:
        The file of the summary; the page lies beside it.

    Raises:
        MissingFileError, InputError: a file of a trial is missing or damaged; its stage is named.
    """
    folder = Layout(Path(plan.config["results"])).experiment(plan.name)
    summary = summarise(plan, Gathered(plan, store), device)
    write_text(folder / SUMMARY, strict_json(summary, indent=1) + "\n")
    write_page(folder / PAGE, summary)
    return folder / SUMMARY


def summarise(plan: Plan, gathered: Gathered, device: str) -> dict[str, Any]:
    """The summary of an experiment, as data_schema/experiment.schema.json describes it."""
    found = {}
    (kind,) = {KINDS[arm.scores] for arm in plan.arms.values()}
    for data in plan.data:
        made = results(plan.section, list(plan.arms), gathered.figures(data), kind)
        found[data] = {
            "facts": gathered.facts(data),
            **made,
            "notes": [*gathered.notes(data), *made["notes"]],
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "name": plan.name,
        **{key: plan.section[key] for key in ("question", "protocol", "seeds", "wanted_effect", "over")},
        "arms": {name: _described(arm) for name, arm in plan.arms.items()},
        "data": plan.section["data"],
        "results": found,
        "origin": origin(device),
        "config": shared_config(plan.config),
    }


def read_summary(path: Path) -> dict[str, Any]:
    """Read the summary of an experiment.

    Args:
        path: of a summary.json or a copy of it, or of the folder that holds it.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no summary of an experiment.
    """
    file = path / SUMMARY if path.is_dir() else path
    summary = read_json(file, "experiment")
    fault = schema_fault(summary, "experiment") or _uneven(summary)
    if fault:
        raise InputError(
            f"{file}: is no summary of an experiment that this weclick can read ({fault}); make it again "
            "with `weclick run CONFIG experiment --with EXPERIMENT`"
        )
    return summary


def _described(arm: Arm) -> dict[str, Any]:
    time = {"as": arm.copy_of, "for_time_of": arm.time_of} if arm.copy_of else {}
    return {"description": arm.description, "change": arm.change, "scores": arm.scores, **time}


def _uneven(summary: dict[str, Any]) -> str:
    """What the schema cannot say: every arm is described, and has a value for each seed."""
    for name, data in summary["results"].items():
        for arm, figures in data["arms"].items():
            if arm not in summary["arms"]:
                return f"results/{name}/arms/{arm}: no such arm is described"
            for figure, score in figures.items():
                if len(score["values"]) != len(summary["seeds"]):
                    return f"results/{name}/arms/{arm}/{figure}: has not one value for each seed"
    return ""
