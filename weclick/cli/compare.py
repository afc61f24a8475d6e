"""`weclick compare`: several runs on one page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import app


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Results folders, or folders or summaries of experiments, each as PATH or PATH=LABEL.",
            metavar="RUN...",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="File to write.")] = Path("compare.html"),
    examples: Annotated[int, typer.Option(help="Frames to show with every run's prediction.")] = 6,
) -> None:
    """Make one page of several runs side by side: configuration, scores, classes, curves, predictions.

    Runs that were scored at other sizes, on other frames, clips or classes are named, and no score of theirs
    is marked as the best. Of experiments, the page shows the arms that were scored on the same frames side by
    side, and the differences of arms of one name, seed by seed.

    Examples:

        weclick compare results other/results=longer

        weclick compare results/experiment/davis benchmarks/results/davis_experiment.json
    """
    from weclick.runs.experiment.compare import is_experiment, write_experiments
    from weclick.runs.report import write_comparison

    if any(map(is_experiment, runs)):
        warnings = write_experiments(output, runs)
    else:
        warnings = write_comparison(output, runs=runs, examples=examples)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(output)
