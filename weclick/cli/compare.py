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
        list[str], typer.Argument(help="Results folders, each as FOLDER or FOLDER=LABEL.", metavar="RUN...")
    ],
    output: Annotated[Path, typer.Option("--output", help="File to write.")] = Path("compare.html"),
    examples: Annotated[int, typer.Option(help="Frames to show with every run's prediction.")] = 6,
) -> None:
    """Make one page of several runs side by side: configuration, scores, classes, curves, predictions.

    Runs that were scored at other sizes, on other frames, clips or classes are named, and no score of theirs
    is marked as the best.
    """
    from weclick.runs.report import write_comparison

    for warning in write_comparison(output, runs=runs, examples=examples):
        print(f"warning: {warning}", file=sys.stderr)
    print(output)
