"""From a results folder to one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from weclick.manifest import write_text
from weclick.report import gallery, sections, words
from weclick.report.results import read_results
from weclick.store import Store


def write_report(out: Path, *, results: Path, config: Mapping[str, Any], store: Store) -> None:
    """Write the page about a run: one file that carries its pictures and needs nothing else.

    Args:
        out: HTML file.
        results: results folder of the run.
        config: the complete configuration, shown whole; `data` names the splits, `report.examples` says how
            many targets and pairs are pictured.
        store: holds the flow entries.

    Raises:
        FileNotFoundError: a stage that the page needs has not run; names the file and the stage.
        ValueError: a file is damaged, or of another run.
    """
    gathered = read_results(Path(results), config)
    examples = config["report"]["examples"]
    page = (
        _environment()
        .get_template("template.html.j2")
        .render(
            head=sections.head(gathered),
            run=sections.run(gathered, config),
            data=sections.data(gathered),
            clicks=gallery.click_gallery(gathered, examples),
            flow=gallery.flow_gallery(gathered, store, examples),
            predictions=gallery.prediction_gallery(gathered),
            training=sections.training(gathered),
            classes=sections.classes(gathered),
            ablation=sections.ablation(gathered),
        )
    )
    write_text(Path(out), page)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("weclick.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["percent"] = words.percent
    return environment
