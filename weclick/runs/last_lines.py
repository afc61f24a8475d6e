"""The last lines of a run of the workflow: its scores, and where its pages lie; or what went wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from weclick.common.files import read_json
from weclick.common.stages import ROLES
from weclick.evaluate import scored
from weclick.evaluate.instances.told import told as told_of_detector
from weclick.runs.layout import PAGE, Layout

_TAIL_BYTES = 2**16
"""So much of the end of a log is searched for an error."""


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


def failures(logs: Iterable[Path], since_s: float) -> list[str]:
    """What jobs that failed said, so that it stands below all that Snakemake says of them.

    Args:
        logs: of the jobs.
        since_s: logs that nobody has written to since then, in seconds of the epoch, are of earlier runs.

    Returns:
        Of each log whose last job ended in an error: the error, and where the log lies.
    """
    told = []
    for log in logs:
        try:
            if log.stat().st_mtime < since_s:
                continue
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:  # a job that has not begun has none; what failed is told by Snakemake, too
            continue
        found = text.rpartition("\nweclick: error: ")
        error, traced, rest = found[2].partition("\nweclick: WECLICK_TRACEBACK=1")
        if found[1] and traced and " begins: " not in rest:
            told += [f"error: {error}", f"log: {log}"]
    return told


def _scores(layout: Layout) -> list[str]:
    """A line for each network that was scored, as the evaluation said it."""
    metrics = read_json(layout.scores, "evaluate")
    if "instances" in metrics:
        return [told_of_detector(metrics)]
    found = {"student": metrics, "teacher": metrics.get("teacher")}
    return [scored.told(role, figures) for role, figures in found.items() if figures]
