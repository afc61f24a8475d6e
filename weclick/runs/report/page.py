"""Makes one HTML file from a results folder."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from weclick.common import words
from weclick.common.files import write_text
from weclick.common.sections import Config
from weclick.common.stages import takes
from weclick.common.strict_json import strict_json
from weclick.runs.report import (
    detections,
    gallery,
    head,
    held_out,
    instances,
    people,
    provenance,
    proxies,
    relation,
    sections,
    tags,
)
from weclick.runs.report.cam_gallery import cam_gallery
from weclick.runs.report.gathering import gathering
from weclick.runs.report.paper import beside_paper
from weclick.runs.report.results import read_results
from weclick.runs.report.strip_gallery import strip_gallery
from weclick.runs.report.supervised import supervised, uses_clicks
from weclick.runs.report.target_gallery import target_gallery
from weclick.store import Store


def write_report(out: Path, *, results: Path, config: Config, store: Store, command: str = "") -> None:
    """Write the page about a run: one file that contains its pictures and needs no other file.

    A .json file beside it holds what `weclick compare` needs: configuration, versions, command.

    Args:
        out: HTML file.
        results: results folder of the run.
        config: the complete configuration, shown whole; `data` names the splits, `report.examples` says how
            many targets and pairs are pictured.
        store: holds frames, flows, class activation maps, proxy labels and soft labels.
        command: the one that made the run; the page shows it.

    Raises:
        MissingFileError: a stage that the page needs has not run; the message names the file and the stage.
        InputError: a file is damaged, or from another run.
    """
    gathered = read_results(Path(results), config)
    examples = config["report"]["examples"]
    page = (
        environment()
        .get_template("template.html.j2")
        .render(
            head=head.head(gathered),
            run=sections.run(gathered, config, store),
            command=command,
            clicked=uses_clicks(config),
            distils=takes(config, "soft_labels"),
            paper=beside_paper(gathered, config),
            strips=strip_gallery(gathered, config, store, examples),
            data=sections.data(gathered),
            supervised=supervised(gathered, config),
            clicks=gallery.click_gallery(gathered, examples),
            people=people.section(gathered, store),
            tags=tags.section(gathered),
            flow=gallery.flow_gallery(gathered, store, examples),
            cams=cam_gallery(gathered, config, store, examples),
            targets=target_gallery(gathered, config, store, examples),
            proxies=proxies.section(gathered, config, store, examples),
            gathering=gathering(gathered, config, store, examples),
            relation=relation.section(gathered, config, store, examples),
            instances=instances.section(gathered, config, store, examples),
            detections=detections.section(gathered),
            predictions=gallery.prediction_gallery(gathered),
            training=sections.training(gathered),
            classes=sections.classes(gathered),
            held_out=held_out.table(gathered),
            ablation=sections.ablation(gathered),
        )
    )
    card = {"command": command, "versions": provenance.versions(), "config": config}
    write_text(Path(out).with_suffix(".json"), strict_json(card, indent=1) + "\n")
    write_text(Path(out), page)


def environment() -> Environment:
    """The templates of this package, with the filters that they use."""
    made = Environment(
        loader=PackageLoader("weclick.runs.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters["percent"] = words.percent
    return made
