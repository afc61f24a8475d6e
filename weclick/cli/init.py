"""`weclick init`: first steps with a folder of one's own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from weclick.cli.app import app
from weclick.common.errors import InputError
from weclick.common.stages import METHODS, TAGGED

if TYPE_CHECKING:  # importing it takes longer than printing help
    from weclick.common.sections import Method
    from weclick.runs.init.begin import Begun


@app.command()
def init(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of videos, or of a folder of images per clip. Default: data/mine, if it is there."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder of the data set that is made of FOLDER, by links. Default: data/<name of FOLDER>, "
            "or FOLDER itself if it holds videos/ or frames/.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes", help="Names of the classes, e.g. background,car: for classes.yaml, if it is missing."
        ),
    ] = None,
    supervision: Annotated[
        str | None,
        typer.Option(
            "--supervision",
            "--labels",
            help="What networks learn from: clicks, masks, both or tags. Default: what the method says.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help=f"{', '.join(METHODS)}. Default: weclick, or two_stream if there are only tags."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", help="Of the machine: small (two cores are enough) or gpu. Default: what is here."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", help="Configuration to write.")] = Path("weclick.yaml"),
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take the defaults.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Begin with your own videos: look at them, write a configuration, and say what to do next.

    Videos may lie loose in FOLDER, and images in a folder per clip. Then weclick makes a data set of links,
    and moves and copies nothing. What no option says is asked for on a terminal. Elsewhere defaults are
    taken. No file that is there is replaced without --force.

    Examples:

        weclick init ~/films --classes background,car

        weclick init data/mine --size gpu --output config/mine.yaml --yes
    """
    from weclick.runs.init.begin import Given, begin

    given = Given(folder, data, classes, method, supervision, size, output, force)
    asked = sys.stdin.isatty() and sys.stdout.isatty() and not yes
    begun = begin(given, ask_on_terminal if asked else take_default)
    print(f"{begun.seen.root}: {begun.seen.told}")
    print(f"{output}: written. What to do next:")
    for command, why in next_steps(begun, output):
        print(f"    {command:<54}  # {why}")


def ask_on_terminal(option: str, question: str, default: str | None, among: Sequence[str] = ()) -> str:
    """Ask until the answer is one of those allowed."""
    told = f"{question} ({', '.join(among)})" if among else question
    while True:
        answer = str(typer.prompt(told, default=default)).strip()
        if answer and (not among or answer in among):
            return answer
        typer.echo(f"{answer!r} is none of {', '.join(among)}" if among else "an answer is needed")


def take_default(option: str, question: str, default: str | None, among: Sequence[str] = ()) -> str:
    """The default, since nobody can be asked."""
    if default is None:
        raise InputError(f"{option} is missing, and there is no terminal to ask on ({question}); give it")
    return default


def next_steps(begun: Begun, output: Path) -> list[tuple[str, str]]:
    """Commands, and what each is for."""
    seen, config, named = begun.seen, begun.config, quote(str(output))
    root = quote(str(seen.root))
    steps = []
    if config["method"] in TAGGED and not (seen.tags or seen.labelled):
        steps.append((f"$EDITOR {quote(str(seen.root / 'tags.csv'))}", "clip,frame,class: what it shows"))
    elif config["method"] not in TAGGED and not (seen.labelled or seen.clicked):
        steps.append((f"weclick click --root {root}", "click on things; needs weclick[click]"))
    return [
        *steps,
        (f"weclick doctor --config {named}", "what is missing"),
        (f"weclick plan --config {named}", "how long it takes"),
        (f"weclick run {named}", "train, and write results/report.html"),
        (f"weclick predict new.mp4{_network(config['method'])}", "segment a new video"),
    ]


def _network(method: Method) -> str:
    """What names the network of a method to `weclick predict`; nothing for the student, which it takes."""
    last = METHODS[method].last
    return "" if "student" in last else f" --checkpoint results/{last[0]}/model.safetensors"
