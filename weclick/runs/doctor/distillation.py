"""Checks whether a student can learn from its teacher as the configuration has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from weclick.common.errors import InputError
from weclick.common.files import read_json
from weclick.common.findings import Finding
from weclick.common.sections import Config
from weclick.common.stages import SCORES, losses_off
from weclick.evaluate.scored import LARGER_TEACHER, teacher_findings
from weclick.runs.layout import Layout

SIZE = ("architecture", "backbone", "channels", "output_stride")
"""Options that make two networks equally large."""

DATA = ("name", "root")
"""Options that say which data set it is."""


def check_distillation(config: Config) -> list[Finding]:
    """Look for what hides or limits what soft labels teach. Empty if the student does not use them."""
    weights = {"kd": config["kd"]["weight"], "mfd": config["mfd"]["weight"]}
    if not any(weights[loss] for loss in weights.keys() - losses_off(config)):
        return []
    return [*_dropout(config), *_same_network(config), *_by_results(config)]


def _dropout(config: Config) -> list[Finding]:
    student, weight = config["student"], config["kd"]["weight"]
    if not weight or not student["backbone"].endswith("_compact") or student["dropout"] is not None:
        return []
    found = (
        f"the student distils (kd.weight is {weight:g}) on {student['backbone']} with the head's published "
        "dropout (0.5 twice, 0.1); under that so small a network hardly learns more from soft labels than "
        "from clicks"
    )
    return [Finding("warning", "student.dropout", found, "set student.dropout: 0")]


def _same_network(config: Config) -> list[Finding]:
    teacher, student = config["teacher"], config["student"]
    other = any(teacher[name] != student[name] for name in SIZE)  # type: ignore[literal-required]
    if other or student["online"]["teacher"]:
        return []
    found = (
        f"teacher and student are the same network ({student['architecture']} on {student['backbone']}, "
        f"{student['channels']} channels wide), and a student gains only from a teacher that knows more"
    )
    return [Finding("warning", "teacher", found, LARGER_TEACHER)]


def _by_results(config: Config) -> list[Finding]:
    """What the scores of the last run say, if it was a run of this data set."""
    layout = Layout(Path(config["results"]))
    if not layout.scores.is_file():
        return []
    try:
        if _of_other_data(config, layout):
            return []
        findings = teacher_findings(read_json(layout.scores, "evaluate", SCORES))
    except InputError as error:
        return [Finding("warning", "results", str(error), "run the stage evaluate again")]
    return [replace(each, found=f"by {layout.scores} it {each.found}") for each in findings]


def _of_other_data(config: Config, layout: Layout) -> bool:
    """Whether the report beside the scores names another data set; a run that was stopped has none."""
    if not layout.report_card.is_file():
        return False
    told = read_json(layout.report_card, "report", layout.report_card.name)["config"].get("data", {})
    return any(told.get(name) != config["data"][name] for name in DATA)  # type: ignore[literal-required]
