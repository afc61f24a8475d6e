"""`weclick experiment` and `weclick ablation`: sum up what the trials of an experiment left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import Configs, Device, Set, app, choose_device, load_all, open_store


@app.command()
def experiment(
    name: Annotated[str, typer.Option(help="ablation, or the configured one, which is the default.")] = "",
    config: Configs = None,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Sum up an experiment: every arm and seed, 95 % intervals, paired differences, costs, on one page.

    The trainings are jobs of the workflow, so this is its last step. Run by hand, it makes summary and page
    anew from what lies in results/experiment/.

    Examples:

        snakemake --cores 8 experiment --configfile config/davis.yaml config/experiments/davis.yaml

        weclick experiment --config config/davis.yaml --config config/experiments/davis.yaml

        weclick experiment --name ablation --config config/davis.yaml
    """
    from weclick.runs.experiment.files import write_experiment
    from weclick.runs.experiment.plan import make_plan

    loaded = load_all(config, change)
    plan = make_plan(loaded, name)
    print(write_experiment(plan, open_store(loaded), choose_device(device)))


@app.command()
def ablation(
    summary: Annotated[Path, typer.Option(help="The summary.json of the experiment `ablation`.")],
    folder: Annotated[Path, typer.Option(help="Gets summary.json, and <variant>/metrics.json of each.")],
) -> None:
    """Write the ablation's mean and spread of every variant in the layout that the report reads."""
    from weclick.runs.ablation import write_old_layout
    from weclick.runs.experiment.files import read_summary

    write_old_layout(read_summary(summary), folder)
