"""`weclick plan`: tells what a run will do, before it does it."""

from __future__ import annotations

from typing import Annotated

import typer

from weclick.cli.app import DEFAULT, Config, Device, Set, app, choose_device, open_store
from weclick.common.config import load_config


@app.command()
def plan(
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
    probe: Annotated[bool, typer.Option(help="Time a few frames, pairs and training steps.")] = True,
    probe_seconds: Annotated[float, typer.Option(min=0.1, help="Time for each probe.")] = 5.0,
) -> None:
    """Tell what every stage of a run will do, write and take, and what the store already holds.

    Sizes come from samples that the stages themselves write into a temporary folder. Times come from a short
    probe at the configured size. Nothing is written to the store. Exit status 1 if the disk has no room.

    Examples:

        weclick plan --config config/davis.yaml

        weclick plan --no-probe --set data.root=/data/mine

        weclick plan --set student.crop='[256, 256]' --probe-seconds 20
    """
    from rich.console import Console
    from rich.table import Table

    from weclick.common.words import count_bytes
    from weclick.runs.plan.plan import make_plan

    loaded = load_config(config, change or ())
    seconds = probe_seconds if probe else 0.0
    made = make_plan(loaded, open_store(loaded), device=choose_device(device), probe_s=seconds)
    table = Table("stage", "work", "in the store", "to make", "store", "time")
    for stage in made.stages:
        stored = bool(stage.found or stage.missing)
        table.add_row(
            stage.stage,
            stage.work,
            str(stage.found) if stored else "",
            str(stage.missing) if stored else "",
            count_bytes(stage.store_bytes) if stored else "",
            "" if stage.seconds is None else spell_seconds(stage.seconds),
        )
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"results folder: {count_bytes(made.results_bytes)} for networks and a checkpoint")
    room = f"{count_bytes(made.needed_bytes)} will be written, {count_bytes(made.free_bytes)} are free"
    console.print(f"{room} at {made.root}", markup=False)
    for note in made.notes:
        console.print(f"note: {note}", markup=False)
    if not made.fits:
        raise ValueError(f"{room} at {made.root}; free some space, or name another root in cache.roots")


def spell_seconds(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
