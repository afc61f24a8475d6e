"""The charts of an experiment, for its page and as files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.common.files import write_text
from weclick.runs.experiment.lines import lines
from weclick.runs.report import figures

FOLDER = "figures"
"""Of the files, beside the page."""

SCORES = {"miou": "mIoU", "click_accuracy": "share of held-out clicks hit", "ap50": "AP50"}
"""What an axis calls the score that arms are compared by."""


def charts(
    name: str,
    summary: Mapping[str, Any],
    differences: Mapping[str, Mapping[str, Any]],
    anchor: str,
    score: str = "miou",
) -> dict[str, str]:
    """What can be drawn of one data set, as SVG text; what cannot be drawn is left out.

    Args:
        name: of the data set.
        summary: of the experiment.
        differences: label -> `estimate` of paired differences.
        anchor: unique in the page; ids inside the charts begin with it.
        score: the one that arms are compared by, see `main_score`.

    Returns:
        arms, differences and over -> chart.
    """
    table, of = summary["results"][name]["arms"], SCORES[score]
    alt = f"{name}: {{}}, a dot for each seed, with the mean and its 95 % interval"
    drawn = {
        "arms": figures.dots_chart(
            {arm: scores[score] for arm, scores in table.items()},
            name=f"{anchor}-arms",
            alt=alt.format(f"{of} of every arm"),
            axis=of,
            roles={arm: summary["arms"][arm]["scores"] for arm in table},
        )
    }
    if differences:
        drawn["differences"] = figures.dots_chart(
            differences,
            name=f"{anchor}-differences",
            alt=alt.format(f"paired differences of {of}"),
            axis=f"difference of {of}, points",
            signed=True,
        )
    if over := summary.get("over"):
        described = {arm: summary["arms"][arm] for arm in table}
        drawn["over"] = figures.lines_chart(
            {
                label: {value: table[arm][score] for value, arm in line.items()}
                for label, line in lines(over, described, summary["config"]).items()
            },
            name=f"{anchor}-over",
            alt=f"{name}: mean {of} over {over}, a line for each kind of arm, with 95 % intervals",
            axis=over,
            of=of,
        )
    return drawn


def write_charts(folder: Path, drawn: Mapping[str, Mapping[str, str]]) -> None:
    """Write each chart as an SVG file that needs no page: `<data set>-<chart>.svg`.

    Args:
        folder: gets the files.
        drawn: data set -> chart -> SVG text.
    """
    for name, of_data in drawn.items():
        for chart, svg in of_data.items():
            write_text(folder / f"{name}-{chart}.svg", figures.as_file(svg))
