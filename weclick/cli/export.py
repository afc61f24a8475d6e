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


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Option(help="model.safetensors of a student or teacher.")] = STUDENT,
    output: Annotated[Path, typer.Option(help="Folder for model.onnx and model.pt2.")] = Path("exported"),
    format: Annotated[Format, typer.Option(help="ONNX, a torch.export program, or both.")] = Format.ONNX,
    size: Annotated[str, typer.Option(help="Fixed HxW in px. Default: any size. PSPNet needs it.")] = "",
    check: Annotated[Path | None, typer.Option(help="Image to compare outputs on. Default: noise.")] = None,
) -> None:
    """Write a trained network as ONNX or as a torch.export program, and check it against the network.

    Input `rgb`: float32 (B, 3, H, W), RGB 0..255, as decoded; the network normalises it. Output `logits`:
    float32 (B, K, H, W); their arg-max gives the class ids. The file holds classes, palette and model card
    as JSON: ONNX metadata `weclick`, or weclick.json in the .pt2. A file whose logits differ by more than
    1e-4 of the largest one is not kept.

        weclick export --check street.jpg
        weclick export --format both --output exported
        weclick export --size 360x480 --checkpoint results/teacher/model.safetensors
    """
    choose_device("cpu")
    from weclick.evaluate.export import export_model

    formats = ("onnx", "torch") if format is Format.BOTH else (format.value,)
    for done in export_model(checkpoint, output, formats=formats, size=_size(size), check=check):
        print(
            f"{done.path}: largest difference of logits {done.difference:.2g}, {done.relative:.2g} relative"
        )


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise typer.BadParameter(f"is {text!r}, expected HxW in pixels, e.g. 360x480", param_hint="--size")
    return int(match[1]), int(match[2])
