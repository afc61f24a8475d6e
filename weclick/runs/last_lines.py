"""The last lines of a run of the workflow: its scores, and where its pages lie."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from weclick.common.files import read_json
from weclick.common.stages import ROLES
from weclick.evaluate import scored
from weclick.evaluate.instances.told import told as told_of_detector
from weclick.runs.layout import PAGE, Layout


def last_lines(layout: Layout, files: Collection[Path]) -> list[str]:
    """What to say at the end of a run that has made some files, or has found them made.

    Args:
        layout: of the run.
        files: that its rules make.

    Returns:
        The scores, if the run itself was scored, then its page and those of experiments. If there are none,
        the networks that were trained.

    Raises:
        MissingFileError, InputError: the scores are gone or damaged.
    """
    pages = sorted(path for path in files if path.name == PAGE)
    asked = not pages or layout.folder / PAGE in pages  # an experiment may score the run on its way
    scores = _scores(layout) if asked and layout.scores in files else []
    told = [*scores, *(f"report: {page}" for page in pages)]
    networks = (layout.weights(role) for role in ROLES)
    return told or [f"network: {weights}" for weights in networks if weights in files]


def _scores(layout: Layout) -> list[str]:
    """A line for each network that was scored, as the evaluation said it."""
    metrics = read_json(layout.scores, "evaluate")
    if "instances" in metrics:
        return [told_of_detector(metrics)]
    found = {"student": metrics, "teacher": metrics.get("teacher")}
    return [scored.told(role, figures) for role, figures in found.items() if figures]
