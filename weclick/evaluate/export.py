"""A trained network for other runtimes: files of ONNX, OpenVINO and torch.export that explain themselves.

All take plain images and give logits at the image's own size, so their arg-max is what
`weclick.models.inference.predict` gives: rgb float32 (B, 3, H, W), RGB 0..255 -> logits float32 (B, K, H, W).
Normalisation and upsampling are part of the graph, and batch norm is folded into the convolutions. The batch
size is free; height and width are free where that is exact. A network that looks at flow takes a second
input: stack float32 (B, 2L, H, W), as its training gave it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from weclick.common.errors import InputError, room_to_write
from weclick.common.files import write_text, written_whole
from weclick.common.words import plural
from weclick.evaluate.export_card import MODEL_CARD, model_card, origin_of
from weclick.evaluate.export_formats import (
    FILES,
    FROM_ONNX,
    Run,
    check_packages,
    load_torch,
    open_onnx,
    open_openvino,
    save_onnx,
    save_openvino,
    save_torch,
)
from weclick.evaluate.export_frames import (
    Scores,
    agreement_of,
    as_input,
    calibration_frames,
    score_runs,
)
from weclick.evaluate.export_inputs import SMALLEST_PX, Inputs, check_inputs, describe_inputs
from weclick.evaluate.export_int8 import save_int8
from weclick.manifest.manifest_file import read_manifests
from weclick.models import normalize
from weclick.models.inference import fused_for_inference, stack_length
from weclick.store.model_file import ModelCard, load_model

TOLERANCE = 1e-4
"""Largest difference of logits that is accepted in float32, relative to the largest logit."""


@dataclass(frozen=True)
class Exported:
    """An exported file. In float32 its outputs agree with the network's.

    Attributes:
        format: of `FILES`.
        path: the file that a runtime is given.
        difference: largest absolute difference of logits.
        relative: that difference over the largest absolute logit.
        agreement: of int8, the share of pixels of the calibration frames to which it gives the network's
            class, 0..1.
        frames: how many frames that were.
        scores: of the network ("torch") and of int8 on the frames that were scored; None if none were.
    """

    format: str
    path: Path
    difference: float
    relative: float
    agreement: float | None = None
    frames: int = 0
    scores: Scores | None = None

    @property
    def told(self) -> str:
        """How near it is to the network, in words."""
        if self.agreement is None:
            return f"largest difference of logits {self.difference:.2g}, {self.relative:.2g} relative"
        return (
            f"the network's class on {100 * self.agreement:.2f} % of the pixels of "
            f"{plural(self.frames, 'frame')} of the calibration"
        )


class FromPixels(nn.Module):
    """A network between images and full-size logits."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, rgb: Tensor, stack: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) float32 RGB 0..255, and (B, 2L, H, W) float32 if L > 0 -> logits (B, K, H, W)."""
        images = normalize(rgb)
        logits = self.model(images) if stack is None else self.model(images, stack)
        return interpolate(logits, size=rgb.shape[-2:], mode="bilinear", align_corners=False)


def export_model(
    checkpoint: Path,
    folder: Path,
    *,
    formats: Sequence[str],
    size: tuple[int, int] | None = None,
    check: Path | None = None,
    calibrate: Path | None = None,
    score: Sequence[Path] = (),
) -> list[Exported]:
    """Write a checkpoint in each format, and MODEL_CARD.md; nothing is written unless all outputs agree.

    Args:
        checkpoint: model.safetensors of a teacher or student.
        folder: gets the files of `FILES`, and the card.
        formats: of `FILES`.
        size: (H, W) px that the files will take; None leaves both free.
        check: image on which outputs are compared; None makes one of noise.
        calibrate: of int8, a folder of images and videos, or a manifest, see `calibration_frames`.
        score: manifests of the shards of a split on whose labels the network is scored, and int8 with it.

    Raises:
        MissingFileError: there is no such checkpoint, image, folder or manifest.
        InputError: the file is no checkpoint, what lies beside it is damaged, the size cannot be taken, a
            package is missing, frames cannot be calibrated on or scored, or outputs differ.
    """
    formats = list(dict.fromkeys(formats))
    check_packages(formats)
    _check_calibration(formats, calibrate)
    split = read_manifests(score) if score else None
    model, card = load_model(checkpoint, with_motion=True, classes=split.classes.names if split else None)
    _check_size(card, size)
    _check_images_suffice(model, formats, split is not None)
    origin = origin_of(checkpoint)
    frames = calibration_frames(calibrate, shrink=card.shrink, size=size) if calibrate else []
    network, batches = FromPixels(model).eval(), list(check_inputs(check, size, stack_length(model)))
    program = _traced(FromPixels(fused_for_inference(model)).eval(), card, size)
    told = json.dumps(describe(card, size))
    with room_to_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".export.") as hidden:
            made = _made(program, told, Path(hidden), formats, network, batches, frames)
            scores = None
            if split:
                runs = {"torch": _run(network)}
                runs |= {each.format: open_onnx(each.path).run for each in made if each.format == "int8"}
                scores = score_runs(runs, split, shrink=card.shrink, size=size, source=score[0])
            calibrated = [(each.agreement, each.frames) for each in made if each.agreement is not None]
            text = model_card(
                card,
                origin,
                formats=formats,
                size=size,
                tolerance=TOLERANCE,
                agreement=calibrated[0] if calibrated else None,
                scores=scores,
            )
            for name in (name for each in made for name in FILES[each.format]):
                with (Path(hidden) / name).open("rb") as content, written_whole(folder / name) as file:
                    shutil.copyfileobj(content, file)
    write_text(folder / MODEL_CARD, text)
    return [replace(each, path=folder / each.path.name, scores=scores) for each in made]


def _made(
    program: torch.export.ExportedProgram,
    told: str,
    folder: Path,
    formats: Sequence[str],
    network: nn.Module,
    batches: list[Inputs],
    frames: list[np.ndarray],
) -> list[Exported]:
    """Write and check each format in a folder, which also gets the ONNX file that others are made of."""
    path = {name: folder / files[-1] for name, files in FILES.items()}
    made = {}
    if any(name in FROM_ONNX for name in formats):
        save_onnx(program, told, path["onnx"])
        made["onnx"] = _checked("onnx", path["onnx"], open_onnx(path["onnx"]).run, network, batches)
    if "torch" in formats:
        save_torch(program, told, path["torch"])
        made["torch"] = _checked("torch", path["torch"], load_torch(path["torch"]), network, batches)
    if "openvino" in formats:
        save_openvino(path["onnx"], told, path["openvino"])
        run = open_openvino(path["openvino"]).run
        made["openvino"] = _checked("openvino", path["openvino"], run, network, batches)
    if "int8" in formats:
        save_int8(path["onnx"], told, path["int8"], map(as_input, frames))
        run = open_onnx(path["int8"]).run
        difference, scale = _largest_difference(network, run, batches)
        agreement = agreement_of(run, _run(network), frames)
        made["int8"] = Exported("int8", path["int8"], difference, difference / scale, agreement, len(frames))
    return [made[name] for name in formats]


def _run(network: nn.Module) -> Run:
    @torch.inference_mode()
    def run(*inputs: np.ndarray) -> np.ndarray:
        logits: np.ndarray = network(*map(torch.from_numpy, inputs)).numpy()
        return logits

    return run


def _card(card: ModelCard) -> dict[str, Any]:
    """A model card as plain values; of a network of images without its motion, as ever."""
    plain = asdict(replace(card, motion=None))
    del plain["motion"]
    return plain | ({"motion": card.motion.as_card()} if card.motion else {})


def describe(card: ModelCard, size: tuple[int, int] | None) -> dict[str, Any]:
    """The description inside an exported file: classes, palette, input, output, and the model card."""
    height, width = size or ("height", "width")
    length = card.options.get("stack_length", 0)
    return {
        "classes": list(card.classes.names),
        "palette": [list(color) for color in card.classes.palette],
        **describe_inputs(size, length),
        "output": {
            "name": "logits",
            "shape": ["batch", len(card.classes.names), height, width],
            "dtype": "float32",
            "class_ids": "arg-max over axis 1",
        },
        "card": _card(card),
    }


def _traced(
    network: FromPixels, card: ModelCard, size: tuple[int, int] | None
) -> torch.export.ExportedProgram:
    try:
        return _trace(network, size)
    except (RuntimeError, AssertionError) as error:
        if size is not None:
            raise
        raise InputError(
            f"backbone {card.options['backbone']} gives no graph of free size; give --size HxW, e.g. --size "
            "360x480"
        ) from error


def _trace(network: FromPixels, size: tuple[int, int] | None) -> torch.export.ExportedProgram:
    height, width = size or (97, 129)
    free: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=4096)}
    if size is None:
        free[2] = torch.export.Dim("height", min=SMALLEST_PX, max=16384)
        free[3] = torch.export.Dim("width", min=SMALLEST_PX, max=16384)
    length = stack_length(network.model)
    inputs = tuple(torch.zeros(2, channels, height, width) for channels in (3, 2 * length) if channels)
    with torch.no_grad():
        return torch.export.export(network, inputs, dynamic_shapes=(free,) * len(inputs))


def _checked(name: str, file: Path, run: Run, network: nn.Module, batches: list[Inputs]) -> Exported:
    """What is told of a file whose outputs agree with the network's."""
    difference, scale = _largest_difference(network, run, batches)
    relative = difference / scale
    if not relative <= TOLERANCE:
        raise InputError(
            f"{file.name}: was not kept, its logits are off the network's by {difference:.2g}, "
            f"{relative:.2g} of the largest, and at most {TOLERANCE:g} is accepted; try another version of "
            "torch, onnxruntime or openvino, or another --format"
        )
    return Exported(name, file, difference, relative)


@torch.no_grad()
def _largest_difference(network: nn.Module, run: Run, batches: list[Inputs]) -> tuple[float, float]:
    """Largest absolute difference of logits over all batches, and the largest absolute logit."""
    difference = scale = 0.0
    for inputs in batches:
        own = network(*map(torch.from_numpy, inputs)).numpy()
        difference = max(difference, float(np.abs(run(*inputs) - own).max()))
        scale = max(scale, float(np.abs(own).max()))
    return difference, scale


def _check_size(card: ModelCard, size: tuple[int, int] | None) -> None:
    if size is None and card.options["architecture"] == "pspnet":
        raise InputError(
            "a PSPNet pools into 1, 2, 3 and 6 bins whose borders depend on the image's size, and a graph "
            "of free size is not exact there; give --size HxW, e.g. --size 360x480"
        )
    if size is not None and min(size) < SMALLEST_PX:
        raise InputError(f"size is {size[0]}x{size[1]} px, expected at least {SMALLEST_PX} a side")


def _check_calibration(formats: Sequence[str], calibrate: Path | None) -> None:
    if "int8" in formats and calibrate is None:
        raise InputError(
            "int8 takes the ranges of its numbers from frames, and none are given; add --calibrate with a "
            "folder of images like those that the network will see, or with a manifest"
        )
    if calibrate is not None and "int8" not in formats:
        raise InputError(
            f"--calibrate {calibrate} is for int8, which is not among the formats; add --format int8, or "
            "leave it out"
        )


def _check_images_suffice(model: nn.Module, formats: Sequence[str], scored: bool) -> None:
    if stack_length(model) and (scored or "int8" in formats):
        what = "int8 is calibrated" if "int8" in formats else "--score looks"
        raise InputError(
            f"{what} at images alone, but this network also looks at the flow around a frame; leave out "
            "--format int8 and --score, and take the scores of `weclick evaluate`"
        )
