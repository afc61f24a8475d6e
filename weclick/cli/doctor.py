"""`weclick doctor`: checks whether all is fit for a run, and says what to mend."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from weclick.cli.app import DEFAULT, Config, Set, app, open_store
from weclick.common.config import ConfigError, load_config
from weclick.common.strict_json import strict_json
from weclick.common.words import plural


@app.command()
def doctor(
    config: Config = DEFAULT,
    change: Set = None,
    quick: Annotated[bool, typer.Option("--quick", help="Read only a sample of the files.")] = False,
    review: Annotated[
        bool,
        typer.Option("--review", help="Also list the clicks that people should look at again, at most 5 %."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check machine, configuration, caches and data set, and say what to mend.

    Each line says what was looked at. Images and labels are read, with --quick a sample of them; videos are
    opened. Weights that a run would download are asked for, within 5 s.

    With --review it reads every frame that people clicked on, and holds each click against what a small
    classifier says that learnt from other clips or times. The list is no warning.

    Exit status 0 if nothing must be mended; warnings do not count.

    Examples:

        weclick doctor

        weclick doctor --config config/davis.yaml --quick

        weclick doctor --set data.root=/data/mine --json

        weclick doctor --config config/folder.yaml --review
    """
    from rich.console import Console

    from weclick.runs.doctor.data import check_data
    from weclick.runs.doctor.distillation import check_distillation
    from weclick.runs.doctor.labels import check_labels
    from weclick.runs.doctor.machine import Finding, check_config, check_machine, check_roots
    from weclick.runs.doctor.people import review_clicks, review_facts, review_lines

    findings = check_machine()
    try:
        loaded = load_config(config, change or ())
    except ConfigError as error:
        findings.append(Finding("error", "configuration", str(error), "correct the configuration"))
    else:
        findings += check_config(loaded) + check_distillation(loaded) + check_roots(open_store(loaded))
        findings += check_data(loaded, quick=quick) + check_labels(loaded, quick=quick)
    errors = sum(finding.level == "error" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    looked = review_clicks(loaded) if review and not errors else None
    if as_json:
        told = [asdict(finding) for finding in findings]
        more = {"review": review_facts(looked)} if looked else {}
        print(strict_json({"fit": not errors, "sampled": quick, "findings": told, **more}, indent=1))
    else:
        console = Console(soft_wrap=True)
        for finding in findings:
            style = {"ok": "green", "warning": "yellow", "error": "red"}[finding.level]
            console.print(f"{finding.level:8}", style=style, end="")
            console.print(f"{finding.what}: {finding.found}", markup=False, highlight=False)
            if finding.todo:
                console.print(f"{'':8}-> {finding.todo}", markup=False, highlight=False)
        for line in review_lines(looked) if looked else ():
            console.print(f"{'review':8}{line}", markup=False, highlight=False)
        console.print(_verdict(errors, warnings, quick=quick), markup=False, highlight=False)
    if errors:
        raise typer.Exit(1)


def _verdict(errors: int, warnings: int, *, quick: bool) -> str:
    """The last line: it claims no more than the lines above it say."""
    found = f"{errors} to mend" if errors else "nothing to mend in what was looked at"
    sampled = "; of frames and labels a sample was read: leave out --quick to read all" if quick else ""
    return f"{found}, {plural(warnings, 'warning')}{sampled}"
