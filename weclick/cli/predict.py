"""`weclick predict`: class maps, objects and overlays of your own images and videos."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import Device, app, choose_device
from weclick.runs.layout import STUDENT


class Save(StrEnum):
    """What `weclick predict` writes."""

    MASKS = "masks"
    OVERLAY = "overlay"
    BOTH = "both"


class CRF(StrEnum):
    """Dense CRFs that post-process class maps: the presets of `weclick.losses.mean_field`."""

    KRAHENBUHL_CODE = "krahenbuhl_code"
    NIPS2011_TEXT = "nips2011_text"
    DEEPLAB_V1 = "deeplab_v1"
    SEC = "sec"
    IRN = "irn"


@app.command()
def predict(
    source: Annotated[
        list[Path],
        typer.Argument(help="Images, videos, folders of them, or patterns such as 'clips/*.mp4'."),
    ],
    checkpoint: Annotated[
        Path, typer.Option(help="model.safetensors of a student, teacher or detector.")
    ] = STUDENT,
    output: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("predictions"),
    save: Annotated[
        Save, typer.Option(help="PNGs of class ids, colours over the frames, or both.")
    ] = Save.BOTH,
    opacity: Annotated[
        float, typer.Option("--alpha", min=0, max=1, help="Opacity of the colours over the frames.")
    ] = 0.5,
    crf: Annotated[
        CRF | None,
        typer.Option(help="Let borders follow the frame's colours by a dense CRF; needs the extra \\[crf]."),
    ] = None,
    flow: Annotated[
        str | None,
        typer.Option(
            help="Estimator of the flow that a network of two streams looks at, e.g. dis or "
            "raft:weights=raft.pth; that of its training if left out. Of a detector: of the flow that links "
            "objects to tracks, dis if left out; named, it also links those of a folder of images."
        ),
    ] = None,
    min_score: Annotated[
        float,
        typer.Option(min=0, max=1, help="Of a detector's objects that are drawn and linked to tracks."),
    ] = 0.5,
    device: Device = "auto",
) -> None:
    """Segment images, videos and folders of them with a trained network.

    It needs only the checkpoint, which holds the network, its class names and colours. Masks are palette
    PNGs of class ids at the frame's size. Overlays are JPEGs, or one MP4 for a video. What predict wrote
    before is no source, wherever it lies. Results of several sources lie in folders as the sources do.

        weclick predict street.mp4
        weclick predict monday/*.mp4 tuesday/
        weclick predict frames/ --save masks --output masks
        weclick predict photo.jpg --checkpoint results/teacher/model.safetensors

    A network of two streams also looks at the flow around a frame, which is estimated on the way. Images of
    one folder are a clip to it, in the order of their names.

    A detector finds objects. Its masks go into instances.json, in COCO's format with a score each, and those
    of videos also into tracks.json, in that of YouTube-VIS. Tracks are linked by masks that are carried along
    the flow. Overlays show each object in a colour of its own.

        weclick predict street.mp4 --checkpoint results/detector/model.safetensors
    """
    chosen = choose_device(device)
    from rich.console import Console
    from rich.table import Table

    from weclick.evaluate.apply import predict_files
    from weclick.flow.estimators import parse_estimator

    done = predict_files(
        source,
        checkpoint,
        output,
        masks=save != Save.OVERLAY,
        overlay=save != Save.MASKS,
        opacity=opacity,
        device=chosen,
        crf=crf,
        flow=parse_estimator(flow, "--flow") if flow else None,
        min_score=min_score,
    )
    found = done.instances
    table = Table("class", "of all pixels", *([] if found is None else ["objects"]), box=None)
    for k, (name, color) in enumerate(zip(done.classes.names, done.classes.palette, strict=True)):
        objects = [] if found is None else [str(found[k])]
        table.add_row(f"[rgb({','.join(map(str, color))})]■[/] {name}", f"{done.share[k]:.1%}", *objects)
    console = Console()
    console.print(table)
    console.print(
        f"{done.frames} frames to {output} in {done.seconds:.1f} s: "
        f"{done.frames / done.seconds:.1f} frames/s, "
        f"the network alone {done.frames / done.network_seconds:.1f} on {chosen}",
        soft_wrap=True,
    )
