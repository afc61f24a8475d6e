"""`weclick flow-bench`: compares how good and how fast flow estimators are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import Device, app, choose_device
from weclick.common.errors import InputError
from weclick.common.files import write_text
from weclick.common.load import busy_words, watched_load
from weclick.common.strict_json import strict_json


@app.command("flow-bench")
def flow_bench(
    frames: Annotated[Path | None, typer.Option(help="Folder of frames in order, or a video.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label PNGs (class ids) by the names of their frames.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="K: labels are 0..K-1. Default: read from the labels.")
    ] = None,
    ignore: Annotated[int, typer.Option(min=0, help="Label value that is not scored.")] = 255,
    gap: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Distance of a pair in frames; may be repeated. Default: 1 2 4 7."),
    ] = None,
    at_most: Annotated[
        int | None, typer.Option(min=1, help="Pairs at each gap, evenly spread. Default: all.")
    ] = None,
    estimator: Annotated[
        list[str] | None,
        typer.Option(help="zero, or name:option=value,...; may be repeated. Default: zero and three DIS."),
    ] = None,
    first: Annotated[
        list[str] | None, typer.Option(help="With --truth: first images; file, folder or quoted pattern.")
    ] = None,
    second: Annotated[list[str] | None, typer.Option(help="With --truth: second images, likewise.")] = None,
    truth: Annotated[
        list[str] | None, typer.Option(help="True flows first -> second, .flo or KITTI PNG, likewise.")
    ] = None,
    output: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("flow_bench.json"),
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; times depend on it.")] = 1,
    device: Device = "auto",
) -> None:
    """Compare flow estimators on your own frames, and on pairs whose true flow is known.

    With labels, it warps the label of the frame `gap` frames earlier along the flow, and scores it (mIoU).
    With frames alone, it measures how far their colours are off after the warp, in grey levels. With true
    flow, it measures the end-point error in px, and the share of pixels off by more than 3 px and 5 % (Fl).
    All figures come without and with the validity masks that `flow.masks` can store. The table also shows
    the share of pixels that the masks keep, and milliseconds a pair. First check whether a flow beats zero
    flow.

    Examples:

        weclick flow-bench --frames frames/park

        weclick flow-bench --frames frames/park --labels labels/park --gap 1 --gap 4 --at-most 20

        weclick flow-bench --frames park.mp4 --estimator dis --estimator "raft:model=large,weights=raft.pth"

        weclick flow-bench --first "chairs/*_img1.png" --second "chairs/*_img2.png" --truth "chairs/*.flo"
    """
    chosen = choose_device(device)
    import torch

    from weclick.evaluate.bench.flow import DEFAULT_ESTIMATORS, GAPS, bench_flow
    from weclick.evaluate.bench.flow_data import open_truth, open_video
    from weclick.evaluate.bench.flow_table import show

    torch.set_num_threads(threads)
    known = open_truth(first or [], second or [], truth or [])
    if frames is None and (labels or not known):
        raise InputError(
            "there is nothing to measure on: give --frames (a folder of images or a video), or --first, "
            "--second and --truth; `weclick flow-bench --help` shows examples"
        )
    video = open_video(frames, labels, classes=classes, ignore=ignore) if frames else None
    with watched_load(threads) as load:
        result = bench_flow(
            estimator or DEFAULT_ESTIMATORS,
            video=video,
            truth=known,
            gaps=gap or GAPS,
            at_most=at_most,
            device=chosen,
        )
    show(result)
    if busy := busy_words(load):
        print(f"{busy}: times are longer than on an idle one")
    write_text(output, strict_json(result, indent=1) + "\n")
    print(f"figures in {output}")
