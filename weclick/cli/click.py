"""`weclick click`: click on frames in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import ClassesFile, DataRoot, app


@app.command()
def click(
    root: DataRoot,
    results: Annotated[
        Path, typer.Option("--results", help="Results of a run; key P shows what its student predicts.")
    ] = Path("results"),
    classes: ClassesFile = None,
    per_clip: Annotated[
        int, typer.Option("--per-clip", min=1, help="Frames of each clip that the page asks for in turn.")
    ] = 12,
    who: Annotated[
        str | None, typer.Option("--who", help="Name beside the clicks; the page can change it.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.")] = 8160,
    browse: Annotated[
        bool, typer.Option("--open", help="Also open the page in this machine's browser.")
    ] = False,
) -> None:
    r"""Click on frames in the browser. Clicks are written to ROOT/clicks.jsonl, each at once.

    No label and no configuration is needed. The page is for this machine alone (127.0.0.1). To click from
    another one, forward the port: `ssh -L 8160:127.0.0.1:8160 HOST`, and open the same address there.
    Needs the extra: pip install 'weclick\[click]'.

        weclick click --root data/mine
        weclick click --root data/mine --per-clip 30 --who anna
    """
    from weclick.runs.click.serve import serve

    def tell(address: str) -> None:
        typer.echo(f"Click here: {address}\nCtrl-C ends it. Every click is on disk at once.")
        if browse:
            import webbrowser

            webbrowser.open(address)

    serve(root, results=results, classes=classes, per_clip=per_clip, who=who, port=port, tell=tell)
