"""`weclick flow-export` and `weclick flow-import`: write flows of the store as files, and read them back."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weclick.cli.app import DEFAULT, Config, OneManifest, Set, app, load, open_store
from weclick.common.errors import InputError
from weclick.runs.layout import DEFAULT as DEFAULT_RUN
from weclick.runs.layout import Layout

if TYPE_CHECKING:  # importing the store takes longer than printing help
    from weclick.store import Store


class FlowFormat(StrEnum):
    """What `weclick flow-export` writes."""

    FLO = "flo"
    KITTI = "kitti"


@app.command("flow-export")
def flow_export(
    source: Annotated[
        Path, typer.Argument(help="A run's results, or an index such as results/flow/train/0.json.")
    ] = DEFAULT_RUN.folder,
    output: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("flow"),
    format: Annotated[
        FlowFormat, typer.Option(help="Middlebury .flo, or KITTI PNG, whose third channel holds the masks.")
    ] = FlowFormat.FLO,
    full: Annotated[
        bool, typer.Option("--full", help="Write at the image's size, in its pixels, not on the stride grid.")
    ] = False,
    clip: Annotated[
        list[str] | None, typer.Option(help="Clip to write; may be repeated. Default: all.")
    ] = None,
    root: Annotated[
        list[Path] | None, typer.Option(help="Roots of the store; default ./store, or WECLICK_CACHE.")
    ] = None,
) -> None:
    """Write the flows of a run as files, `<clip>/<target>__<neighbour>.flo`, for other tools.

    A flow lies on the target's grid and points to the neighbour. The store keeps it on a grid of
    `flow.stride_px` px, in pixels of that grid; --full brings it to the image's size and pixels.

    Examples:

        weclick flow-export --full

        weclick flow-export results/flow/train/0.json --clip park --format kitti --output kitti
    """
    from weclick.flow.to_files import export_flow
    from weclick.store import Store, read_needs

    paths = Layout(source).found("flow") if source.is_dir() else [source]
    if not paths:
        raise InputError(
            f"{source}: holds no index of flows (flow/<split>/<shard>.json); give a run's results or an "
            "index file, or run the flow stage first"
        )
    store = Store([*root]) if root else Store.from_config(["store"])
    written = export_flow(
        read_needs(paths, "flow"), output, store=store, file_format=format.value, full=full, clips=clip or ()
    )
    print(f"{written} flows in {output}")


@app.command("flow-import")
def flow_import(
    folder: Annotated[
        Path, typer.Argument(help="Holds <clip>/<target>__<neighbour>.flo, or .png as KITTI's.")
    ],
    manifest: OneManifest,
    output: Annotated[
        Path | None, typer.Option(help="Index to write, e.g. results/flow/train/0.json.")
    ] = None,
    wanted: Annotated[
        Path | None, typer.Option(help="Import nothing; write a CSV table of the flows that are needed.")
    ] = None,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Import flows that were made elsewhere, in place of the flow stage.

    It needs the flows from every target to the neighbours that `window` allows, and those of the methods
    that `serves` names, at the size of the frames and in their pixels. The mask forward_backward also needs
    the flows back. Of the configuration, it uses what `weclick flow` does, but in `flow` only stride_px,
    masks and on_overflow. The index is like that of `weclick flow`.

    Examples:

        weclick flow-import flow --manifest results/manifest/train/0.json --wanted wanted.csv

        weclick flow-import flow --manifest results/manifest/train/0.json --output results/flow/train/0.json
    """
    from weclick.flow.from_files import import_flow, write_wanted
    from weclick.manifest import read_manifest
    from weclick.runs.metered import make_index
    from weclick.runs.wanted import Wanted
    from weclick.store import by_clip

    if (output is None) == (wanted is None):
        raise InputError(
            "flow-import takes either --output INDEX, to import, or --wanted CSV, to list what it needs"
        )
    chosen = load(config, change, "flow")
    needs, listed = Wanted(chosen).needs, read_manifest(manifest)
    if wanted:
        count = write_wanted(listed, needs.all_pairs, chosen["flow"]["masks"], wanted)
        print(f"{count} flows are needed, listed in {wanted}")
    if output:

        def make(store: Store) -> dict[str, dict[str, str]]:
            return by_clip(
                {
                    need: import_flow(listed, pairs, folder, options=chosen["flow"], store=store)
                    for need, pairs in needs.functions.items()
                }
            )

        made = make_index("flow", output, open_store(chosen), make)
        print(f"flow of {len(made)} clips: {output}")
