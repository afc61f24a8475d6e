"""`weclick export`: a trained network for other runtimes."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import app, choose_device
from weclick.runs.layout import STUDENT


class Format(StrEnum):
    """What `weclick export` writes."""

    ONNX = "onnx"
    TORCH = "torch"
    BOTH = "both"
    OPENVINO = "openvino"
    INT8 = "int8"


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Option(help="model.safetensors of a student or teacher.")] = STUDENT,
    output: Annotated[Path, typer.Option(help="Folder for the files and MODEL_CARD.md.")] = Path("exported"),
    format: Annotated[
        list[Format] | None,
        typer.Option(
            help="onnx, torch (a torch.export program), both of these, openvino, or int8 (ONNX). May be "
            "repeated.",
            show_default="onnx",
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="Fixed HxW in px. Default: any size. PSPNet needs it.")] = "",
    check: Annotated[Path | None, typer.Option(help="Image to compare outputs on. Default: noise.")] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Frames for int8: a folder of images and videos, or a manifest of a split."),
    ] = None,
    score: Annotated[
        list[Path] | None,
        typer.Option(help="Manifest of a split with labels, to tell the mIoU; one per shard."),
    ] = None,
) -> None:
    """Write a trained network for other runtimes, check it against the network, and describe it.

    Input `rgb`: float32 (B, 3, H, W), RGB 0..255, as decoded; the network normalises it. Output `logits`:
    float32 (B, K, H, W); their arg-max gives the class ids. The file holds classes, palette and model card
    as JSON: ONNX metadata `weclick`, OpenVINO's rt_info `weclick`, or weclick.json in the .pt2. A file in
    float32 whose logits differ by more than 1e-4 of the largest one is not kept. int8 is kept, and it is told
    how often it gives the network's class, and with --score the mIoU of both. MODEL_CARD.md tells how to run
    each file.

        weclick export --check street.jpg
        weclick export --format both --output exported
        weclick export --format openvino --size 360x480 --checkpoint results/teacher/model.safetensors
        weclick export --format int8 --calibrate frames --score results/manifest/val/0.json
    """
    choose_device("cpu")
    from weclick.evaluate.export import export_model
    from weclick.evaluate.export_card import MODEL_CARD

    formats = [
        name
        for each in format or [Format.ONNX]
        for name in (("onnx", "torch") if each is Format.BOTH else (each.value,))
    ]
    made = export_model(
        checkpoint,
        output,
        formats=formats,
        size=_size(size),
        check=check,
        calibrate=calibrate,
        score=score or (),
    )
    for done in made:
        print(f"{done.path}: {done.told}")
    if scores := made[0].scores:
        for name, told in scores.of.items():
            network = "the network in float32" if name == "torch" else f"the network in {name}"
            print(f"mIoU of {network} on {scores.told}: {100 * told.miou:.2f} %")
    print(f"{output / MODEL_CARD}: how to run it")


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise typer.BadParameter(f"is {text!r}, expected HxW in pixels, e.g. 360x480", param_hint="--size")
    return int(match[1]), int(match[2])
