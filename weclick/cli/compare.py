"""`weclick compare`: several runs on one page."""

from __future__ import annotations

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
    """Make one page of several runs side by side: configuration, scores, classes, curves, predictions."""
    from weclick.runs.report import write_comparison

    write_comparison(output, runs=runs, examples=examples)
    print(output)
