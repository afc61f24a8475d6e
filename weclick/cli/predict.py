"""`weclick predict`: class maps, objects and overlays of your own images, videos and streams."""

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
    NONE = "none"


class Precision(StrEnum):
    """Of a network's weights and features, see `weclick.evaluate.engines`."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


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
        list[str],
        typer.Argument(
            help="Images, videos, folders of them, patterns such as 'clips/*.mp4', @list.txt with one of "
            "these in each line, or streams: camera:0, rtsp://host/path, - for a video that is piped in."
        ),
    ],
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="model.safetensors of a student, teacher or detector; or a model.onnx, model.int8.onnx or "
            "model.xml of weclick export, which run on the processor."
        ),
    ] = STUDENT,
    output: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("predictions"),
    save: Annotated[
        Save, typer.Option(help="PNGs of class ids, colours over the frames, both, or none.")
    ] = Save.BOTH,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Also a file of JSON Lines for each source: of each frame the time, the share of each "
            "class, and the objects of a detector.",
        ),
    ] = False,
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
    batch_size: Annotated[
        int, typer.Option(min=1, help="Frames of one size that go through the network together.")
    ] = 1,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="What a network of class maps computes in, float32 if left out. bfloat16 is faster on GPUs, "
            "and on processors that have it.",
            show_default=False,
        ),
    ] = None,
    drop: Annotated[
        bool | None,
        typer.Option(
            "--drop/--wait",
            help="Whether streams drop frames if the network is slower. By default cameras and live "
            "addresses (RTSP, UDP, ...) do; pipes and HTTP wait. A file gives every frame.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Segment images, videos, folders of them and streams with a trained network.

    It needs only the checkpoint, which holds the network, its class names and colours. Masks are palette
    PNGs of class ids at the frame's size. Overlays are JPEGs, or one MP4 for a video. What predict wrote
    before is no source, wherever it lies. Results of several sources lie in folders as the sources do.

        weclick predict street.mp4
        weclick predict monday/*.mp4 tuesday/
        weclick predict frames/ --save masks --output masks
        weclick predict photo.jpg --checkpoint results/teacher/model.safetensors
        weclick predict @night.txt --save none --json --batch-size 8
        weclick predict camera:0 --save overlay
        weclick predict street.mp4 --checkpoint exported/model.int8.onnx
        ffmpeg -i tape.avi -f matroska - | weclick predict -

    Ctrl-C ends a stream; what came is finished. What is wrong with one of several sources is told at the end,
    while the others are done; the exit status is then not 0.

    A network of two streams also looks at the flow around a frame, which is estimated on the way. Images of
    one folder are a clip to it, in the order of their names.

    A detector finds objects. Its masks go into instances.json, in COCO's format with a score each, and those
    of videos also into tracks.json, in that of YouTube-VIS. Tracks are linked by masks that are carried along
    the flow. Overlays show each object in a colour of its own.

        weclick predict street.mp4 --checkpoint results/detector/model.safetensors
    """
    from weclick.common.errors import InputError

    if save == Save.NONE and not json:
        raise InputError("--save none writes nothing; add --json, or save masks, overlay or both")
    chosen = choose_device(device)
    from rich.console import Console
    from rich.table import Table

    from weclick.evaluate.apply import predict_files
    from weclick.flow.estimators import parse_estimator

    done = predict_files(
        source,
        checkpoint,
        output,
        masks=save in (Save.MASKS, Save.BOTH),
        overlay=save in (Save.OVERLAY, Save.BOTH),
        json=json,
        opacity=opacity,
        device=chosen,
        crf=crf,
        flow=parse_estimator(flow, "--flow") if flow else None,
        min_score=min_score,
        batch_size=batch_size,
        drop=drop,
        precision=precision.value if precision else None,
    )
    found = done.instances
    table = Table("class", "of all pixels", *([] if found is None else ["objects"]), box=None)
    for k, (name, color) in enumerate(zip(done.classes.names, done.classes.palette, strict=True)):
        objects = [] if found is None else [str(found[k])]
        table.add_row(f"[rgb({','.join(map(str, color))})]■[/] {name}", f"{done.share[k]:.1%}", *objects)
    console = Console()
    console.print(table)
    console.print(
        f"{done.frames} frames to {output} in {done.pace.seconds:.1f} s on {done.told}: {done.pace}",
        soft_wrap=True,
        highlight=False,
    )
    if done.fault:
        raise done.fault
