"""`weclick ask`: which click next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import ClassesFile, DataRoot, Device, app, choose_device


@app.command()
def ask(
    root: DataRoot,
    results: Annotated[
        Path, typer.Option("--results", help="Results of a run; its student is asked.")
    ] = Path("results"),
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="Places to propose.")] = 60,
    every: Annotated[
        float, typer.Option("--every", min=0.0, help="Look at a frame of a video every so many seconds.")
    ] = 0.5,
    at_most: Annotated[
        int, typer.Option("--at-most", min=1, help="Look at so many frames at most, evenly chosen.")
    ] = 300,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Take the classes that it predicts in turn.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="File to write. Default: <root>/asks.json, as the page reads."),
    ] = None,
    classes: ClassesFile = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the draws. Default: a new one.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Propose the places to click on next, by the present student.

    It looks at frames all over the videos. Three quarters of the places are pixels of which the student is
    least sure: the 5 % with the smallest margin between its two likeliest classes, at most three a frame, 16
    px from any click. The last quarter is drawn uniformly at random. How often the student is right there is
    its honest accuracy: no choice of places has bent it, and the student has not learned from these answers
    yet. Then press Q on the page, and name the class at each ring by its key.

        weclick ask --root data/mine
        weclick click --root data/mine
        weclick ask --root data/mine --count 200 --every 0.2
    """
    from weclick.clicks.asking import AskOptions
    from weclick.runs.ask.answers import honest_accuracy
    from weclick.runs.ask.ask_list import ASKS, write_asks
    from weclick.runs.ask.propose import lines_of, propose_asks
    from weclick.runs.layout import Layout

    asked, events = propose_asks(
        root,
        Layout(results).weights("student"),
        classes=classes,
        count=count,
        every_s=every,
        at_most=at_most,
        options=AskOptions(balanced=balanced),
        seed=seed,
        device=choose_device(device),
    )
    read_by_page = root / ASKS
    path = output or read_by_page
    write_asks(asked, path)
    for line in lines_of(asked, honest_accuracy(events)):
        print(line)
    if path.resolve() == read_by_page.resolve():
        print(f"{path}: written; `weclick click --root {root}` and Q ask them")
    else:
        print(f"{path}: written; the page asks what is in {read_by_page}")
