"""`weclick plan`: tells what a run will do, before it does it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from weclick.cli.app import Configs, Device, Set, app, choose_device, load_all, open_store
from weclick.common.stages import ROLES

if TYPE_CHECKING:  # importing torch takes longer than printing help
    from rich.table import Table

    from weclick.runs.plan.planned import ExperimentPlan, Plan

LONG_S = 60.0
"""A stage that takes longer gets a hint how to shorten it."""


@app.command()
def plan(
    config: Configs = None,
    change: Set = None,
    device: Device = "auto",
    probe: Annotated[bool, typer.Option(help="Time a few frames, pairs and training steps.")] = True,
    probe_seconds: Annotated[float, typer.Option(min=0.1, help="Time for each probe.")] = 5.0,
    at_most: Annotated[
        float, typer.Option(min=1, help="Seconds after which no further probe begins.")
    ] = 60.0,
) -> None:
    """Tell what every stage of a run will do, write and take, and what the store already holds.

    Sizes come from samples that the stages themselves write into a temporary folder. Times come from a short
    probe at the configured size. Where a step of that size would take too long, a smaller one is timed and
    its time scaled up; such times begin with a ≈. The last row adds up what is known; of a run without a
    teacher, that is without the stages after flow. Nothing is written to the store. Exit status 1 if the disk
    has no room.

    If an experiment is configured, a last table tells how many networks it trains, and how long those take
    that the results folder lacks.

    Examples:

        weclick plan --config config/davis.yaml

        weclick plan --no-probe --set data.root=/data/mine

        weclick plan --set student.crop='[256, 256]' --probe-seconds 20

        weclick plan --config config/davis.yaml --config config/experiments/davis.yaml
    """
    from rich.console import Console
    from rich.table import Table

    from weclick.common.words import count_bytes
    from weclick.runs.plan.plan import make_plan

    loaded = load_all(config, change)
    seconds = probe_seconds if probe else 0.0
    chosen = choose_device(device)
    if probe:
        print(f"timing samples of all stages, for about {at_most:.0f} s at most", file=sys.stderr)
    made = make_plan(loaded, open_store(loaded), device=chosen, probe_s=seconds, at_most_s=at_most)
    table = Table("stage", "work", "in the store", "to make", "store", "time")
    for stage in made.stages:
        stored = bool(stage.found or stage.missing)
        table.add_row(
            stage.stage,
            stage.work,
            str(stage.found) if stored else "",
            str(stage.missing) if stored else "",
            count_bytes(stage.store_bytes) if stored else "",
            "" if stage.seconds is None else "≈ " * stage.estimated + spell_seconds(stage.seconds),
        )
    if probe:
        table.add_section()
        about = "≈ " * any(stage.estimated for stage in made.stages)
        name = f"up to {made.last}" if made.last else "total"
        rest = "without the stages after it" if made.last else ""
        table.add_row(name, rest, "", "", "", about + spell_seconds(made.seconds))
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"results folder: {count_bytes(made.results_bytes)} for networks and a checkpoint")
    room = f"{count_bytes(made.needed_bytes)} will be written, {count_bytes(made.free_bytes)} are free"
    console.print(f"{room} at {made.root}", markup=False)
    if made.experiment:
        console.print(experiment_table(made.experiment))
    for note in [*hints(made, chosen, probed=probe), *made.notes]:
        console.print(f"note: {note}", markup=False)
    if not made.fits:
        raise ValueError(f"{room} at {made.root}; free some space, or name another root in cache.roots")


def experiment_table(experiment: ExperimentPlan) -> Table:
    """What an experiment trains, and how long that takes."""
    from rich.table import Table

    from weclick.common.words import plural

    parts = {"arm": experiment.arms, "seed": experiment.seeds, "data set": experiment.data_sets}
    told = ", ".join(plural(number, name) for name, number in parts.items())
    table = Table(
        "network",
        "trainings",
        "to train",
        "time",
        title=f"experiment {experiment.name}: {told}",
        title_justify="left",
    )
    for each in experiment.trainings:
        table.add_row(each.role, str(each.networks), str(each.missing), _about(each.seconds))
    if experiment.seconds is not None:
        table.add_section()
        table.add_row("total", "", "", _about(experiment.seconds))
    return table


def _about(seconds: float | None) -> str:
    return "" if seconds is None else f"≈ {spell_seconds(seconds)}"


def hints(plan: Plan, device: str, *, probed: bool) -> list[str]:
    """What the total leaves out, which stage takes most of it, and how to shorten that."""
    if not probed:
        return ["times were not asked for; leave out --no-probe to time a few frames, pairs and steps"]
    told, whole = [], "sum" if plan.last else "total"
    if any(stage.estimated for stage in plan.stages):
        told.append("≈ is scaled up from a smaller batch and crop; larger ones may take less or more")
    if plan.untimed:
        told.append(f"the {whole} is without {', '.join(plan.untimed)}")
    most = max(plan.stages, key=lambda stage: stage.seconds or 0)
    if (most.seconds or 0) >= LONG_S:
        told.append(f"most of the {whole} is {most.stage}; {_shorten(most.stage, device)}")
    return told


def _shorten(stage: str, device: str) -> str:
    elsewhere = "a GPU shortens it, and so " if device == "cpu" else ""
    if stage in ROLES:
        return (
            f"{elsewhere}do fewer {stage}.steps, a smaller {stage}.crop or batch_size, or a smaller backbone"
        )
    return f"{elsewhere}does data.shrink; a colleague's caches (cache.roots) save it"


def spell_seconds(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.0f} days"
