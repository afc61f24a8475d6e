"""`weclick export-instances`: pseudo-labels of instances for other trainers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import app
from weclick.common.errors import InputError
from weclick.runs.layout import DEFAULT as DEFAULT_RUN
from weclick.runs.layout import Layout


class InstanceFormat(StrEnum):
    """What `weclick export-instances` writes."""

    COCO = "coco"
    YOUTUBE_VIS = "youtube-vis"


@app.command("export-instances")
def export_instances(
    source: Annotated[
        Path, typer.Argument(help="A run's results, whose manifests and indexes are taken.")
    ] = DEFAULT_RUN.folder,
    output: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("instances.json"),
    format: Annotated[
        InstanceFormat, typer.Option(help="Masks of images (COCO), or tracks of videos (YouTube-VIS).")
    ] = InstanceFormat.COCO,
    split: Annotated[str, typer.Option(help="Split whose instances are taken from the results.")] = "train",
    manifest: Annotated[
        list[Path] | None, typer.Option(help="Manifest of a shard, instead of all in the results; repeat.")
    ] = None,
    instances: Annotated[
        list[Path] | None, typer.Option(help="Index of instances, instead of all in the results; repeat.")
    ] = None,
    flow: Annotated[
        list[Path] | None, typer.Option(help="Index of flow, instead of all in the results; repeat.")
    ] = None,
    no_flow: Annotated[
        bool, typer.Option("--no-flow", help="youtube-vis: link nothing; each instance has one frame.")
    ] = False,
    root: Annotated[
        list[Path] | None, typer.Option(help="Roots of the store; default ./store, or WECLICK_CACHE.")
    ] = None,
) -> None:
    """Write the instances of a run as one JSON file that pycocotools and other trainers read.

    Names of images are those below data.root, and <clip>/<frame> for frames of a video. The id of a category
    is the class id + 1. Scores stand beside their masks.

    In youtube-vis, a video is a run of a clip's frames, from each of which a stored flow leads to the one
    before. The flow of `pair` leads pair.delta_frames back, so a clip gives as many videos. Instances are
    linked to tracks along it, as in UnOVOST (Luiten et al. 2020). With --no-flow, or where the results
    hold no flow, a clip is one video, and each instance is a track of one frame.

    All masks' codes are in memory before they are written. With a large data set, write a shard at a time.

    Examples:

        weclick export-instances --output pseudo.json

        weclick export-instances --format youtube-vis --output tracks.json

        weclick export-instances --manifest results/manifest/train/0.json
        --instances results/instances/train/0.json --output shard0.json
    """
    from weclick.evaluate.instances.exporting import export_instances as write
    from weclick.manifest import read_manifests
    from weclick.store import Store, read_index, read_needs

    layout = Layout(source)
    listed = manifest or layout.found("manifest", split)
    found = instances or layout.found("instances", split)
    flows = [] if no_flow else flow or layout.found("flow", split)
    for what, paths in (("manifest", listed), ("index of instances", found)):
        if not paths:
            raise InputError(
                f"{source}: holds no {what} of split {split!r}; give a run's results of method maskconsist, "
                "or --manifest and --instances, or run the instances stage first"
            )
    written = write(
        read_manifests(listed),
        read_index(found, "instances"),
        output,
        store=Store([*root]) if root else Store.from_config(["store"]),
        file_format=format.value,
        flow=read_needs(flows, "flow") if flows else None,
    )
    what = "instances" if format is InstanceFormat.COCO else "tracks"
    print(f"{written.instances} {what} of {written.frames} frames: {output}")
