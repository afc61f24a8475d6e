"""`weclick run`: runs the workflow, in a checkout or without one."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from weclick.cli.app import app


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG",
            help="A YAML file, or the name of a configuration that weclick brings, e.g. demo.",
        ),
    ],
    on_top: Annotated[
        list[str] | None,
        typer.Option("--with", help="Another one, which stands over those before it. May be repeated."),
    ] = None,
) -> None:
    """Run the workflow up to its report, in the current folder; only what changed runs again.

    It needs no checkout: an installed weclick brings the Snakefile. All further words go to Snakemake:
    targets (`all` is the default), and options such as --dry-run or --cores 4 (all cores are the default).
    Relative paths start from the current folder, where results/ and store/ come to lie.

    The exit status is Snakemake's.

    Examples:

        weclick run demo

        weclick run weclick.yaml --dry-run

        weclick run weclick.yaml flow --cores 4 --config 'student={steps: 500}'

        weclick run davis experiment --with experiments/davis
    """
    from weclick.runs.workflow import check_words, find_config, run_snakemake

    check_words(context.args)
    configs = [find_config(name) for name in (config, *(on_top or ()))]
    over = [word for name in on_top or () for word in ("--with", name)]
    typed = shlex.join(["weclick", "run", config, *over, *context.args])
    if status := run_snakemake(context.args, configs, typed=typed):
        raise typer.Exit(status)
