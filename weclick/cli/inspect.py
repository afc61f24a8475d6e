"""`weclick inspect`: what a file or a store entry is and holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import app


@app.command()
def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="Manifest, click table, table of tags, index, folder of a store entry, or checkpoint."
        ),
    ],
    show: Annotated[Path | None, typer.Option("--show", help="Also draw it, into this PNG file.")] = None,
    manifest: Annotated[
        list[Path] | None,
        typer.Option(help="To draw clicks, maps, labels or instances over frames: manifests of their split."),
    ] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Roots of the store for an index; default ./store, or WECLICK_CACHE."),
    ] = None,
) -> None:
    """Say what a file or store entry is, where it came from and what it holds.

    Exit status 1 if something is damaged or missing, e.g. a file of an entry that no longer matches its
    digest.

    Examples:

        weclick inspect results/manifest/train/0.json --show frames.png

        weclick inspect results/clicks/train.h5 --show clicks.png --manifest results/manifest/train/0.json

        weclick inspect results/tags/train.h5

        weclick inspect results/flow/train/0.json --root /team/store --root store

        weclick inspect store/flow/v1/3f/3f9a... --show flow.png

        weclick inspect results/cams/train/0.json --show maps.png --manifest results/manifest/train/0.json

        weclick inspect results/instances/train/0.json --show it.png --manifest results/manifest/train/0.json

        weclick inspect results/student/model.safetensors
    """
    from rich.console import Console
    from rich.table import Table

    from weclick.runs.inspect.describe import describe
    from weclick.store import Store

    store = Store([*root]) if root else Store.from_config(["store"])
    told = describe(path, store)
    console = Console(soft_wrap=True)
    console.print(told.title, style="bold", markup=False)
    facts = Table.grid(padding=(0, 2))
    for name, value in told.facts.items():
        facts.add_row(f"[dim]{name}[/]", value.replace("[", r"\["))
    console.print(facts)
    for part in told.tables:
        table = Table(*part.columns, title=part.title, title_justify="left")
        for row in part.rows:
            table.add_row(*(cell.replace("[", r"\[") for cell in row))
        console.print(table)
    for fault in told.faults:
        console.print(f"fault: {fault}", style="red", markup=False)
    if show:
        from weclick.runs.inspect.show import show as draw

        draw(path, show, manifests=manifest or [], store=store)
        console.print(f"drawn: {show}", markup=False)
    if told.faults:
        raise typer.Exit(1)
