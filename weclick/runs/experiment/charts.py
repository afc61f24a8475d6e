"""The charts of an experiment, for its page and as files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from weclick.common.files import write_text
from weclick.runs.experiment.lines import lines
from weclick.runs.report import figures

FOLDER = "figures"
"""Of the files, beside the page."""


def charts(
    name: str, summary: Mapping[str, Any], differences: Mapping[str, Mapping[str, Any]], anchor: str
) -> dict[str, str]:
    """What can be drawn of one data set, as SVG text; what cannot be drawn is left out.

    Args:
        name: of the data set.
        summary: of the experiment.
        differences: label -> `estimate` of paired differences.
        anchor: unique in the page; ids inside the charts begin with it.

    Returns:
        arms, differences and over -> chart.
    """
    table = summary["results"][name]["arms"]
    alt = f"{name}: {{}}, a dot for each seed, with the mean and its 95 % interval"
    drawn = {
        "arms": figures.dots_chart(
            {arm: scores["miou"] for arm, scores in table.items()},
            name=f"{anchor}-arms",
            alt=alt.format("mIoU of every arm"),
        )
    }
    if differences:
        drawn["differences"] = figures.dots_chart(
            differences,
            name=f"{anchor}-differences",
            alt=alt.format("paired differences of mIoU"),
            axis="difference of mIoU, points",
            signed=True,
        )
    if over := summary.get("over"):
        described = {arm: summary["arms"][arm] for arm in table}
        drawn["over"] = figures.lines_chart(
            {
                label: {value: table[arm]["miou"] for value, arm in line.items()}
                for label, line in lines(over, described, summary["config"]).items()
            },
            name=f"{anchor}-over",
            alt=f"{name}: mean mIoU over {over}, a line for each kind of arm, with 95 % intervals",
            axis=over,
        )
    return drawn


def write_charts(folder: Path, drawn: Mapping[str, Mapping[str, str]]) -> None:
    """Write each chart as an SVG file that needs no page: `<data set>-<chart>.svg`, in light and in dark.

    Args:
        folder: gets the files.
        drawn: data set -> chart -> SVG text.
    """
    style = files("weclick.runs.report").joinpath("style.css").read_text("utf-8").partition("\n* {")[0]
    for name, of_data in drawn.items():
        for chart, svg in of_data.items():
            write_text(folder / f"{name}-{chart}.svg", figures.with_style(svg, style))
