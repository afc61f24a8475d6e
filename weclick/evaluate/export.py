"""A trained network for other runtimes: an ONNX file or a torch.export program that explains itself.

Both take plain images and give logits at the image's own size, so their arg-max is what
`weclick.models.inference.predict` gives: rgb float32 (B, 3, H, W), RGB 0..255 -> logits float32 (B, K, H, W).
Normalisation and upsampling are part of the graph, and batch norm is folded into the convolutions. The batch
size is free; height and width are free where that is exact. A network that looks at flow takes a second
input: stack float32 (B, 2L, H, W), as its training gave it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from weclick.common.errors import InputError
from weclick.common.files import written_whole
from weclick.evaluate.export_inputs import SMALLEST_PX, Inputs, check_inputs, describe_inputs
from weclick.models import normalize
from weclick.models.inference import fused_for_inference, stack_length
from weclick.store.model_file import ModelCard, load_model

TOLERANCE = 1e-4
"""Largest difference of logits that is accepted, relative to the largest logit."""

CARD = "weclick.json"
"""Name of the card inside a .pt2 file; in ONNX it is the metadata `weclick`."""

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}

Run = Callable[..., np.ndarray]
"""The inputs of a network, in order -> its logits."""


@dataclass(frozen=True)
class Exported:
    """An exported file whose outputs agree with the network's.

    Attributes:
        path: the file.
        difference: largest absolute difference of logits.
        relative: that difference over the largest absolute logit.
    """

    path: Path
    difference: float
    relative: float


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
    formats: tuple[str, ...],
    size: tuple[int, int] | None = None,
    check: Path | None = None,
) -> list[Exported]:
    """Write a checkpoint in each format; a file appears only once its outputs agree with the network's.

    Args:
        checkpoint: model.safetensors of a teacher or student.
        folder: gets model.onnx and model.pt2.
        formats: of `SUFFIXES`.
        size: (H, W) px that the files will take; None leaves both free.
        check: image on which outputs are compared; None makes one of noise.

    Raises:
        MissingFileError: there is no such checkpoint or image.
        InputError: the file is no checkpoint, the size cannot be taken, a package is missing, or outputs
            differ.
    """
    if "onnx" in formats:
        _check_onnx_is_there()
    model, card = load_model(checkpoint, with_motion=True)
    _check_size(card, size)
    network, batches = FromPixels(model).eval(), list(check_inputs(check, size, stack_length(model)))
    program = _traced(FromPixels(fused_for_inference(model)).eval(), card, size)
    told = describe(card, size)
    return [
        _write(name, folder / f"model{SUFFIXES[name]}", network, program, told, batches) for name in formats
    ]


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


def _write(
    name: str,
    path: Path,
    network: nn.Module,
    program: torch.export.ExportedProgram,
    told: Mapping[str, Any],
    batches: list[Inputs],
) -> Exported:
    save, load = {"onnx": (_save_onnx, _load_onnx), "torch": (_save_torch, _load_torch)}[name]
    with written_whole(path) as file:
        hidden = Path(file.name)
        save(program, json.dumps(told), hidden)
        difference, scale = _largest_difference(network, load(hidden), batches)
        relative = difference / scale
        if not relative <= TOLERANCE:
            raise InputError(
                f"{path}: was not kept, its logits are off the network's by {difference:.2g}, {relative:.2g} "
                f"of the largest, and at most {TOLERANCE:g} is accepted; try another version of torch or "
                "onnxruntime, or another --format"
            )
    return Exported(path, difference, relative)


def _save_onnx(program: torch.export.ExportedProgram, told: str, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they concern the exporter's own parts, which no user can mend
        names = list(program.graph_signature.user_inputs)
        converted = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=names, output_names=["logits"]
        )
    assert converted is not None
    converted.model.metadata_props["weclick"] = told
    converted.save(str(path), external_data=False)


def _load_onnx(path: Path) -> Run:
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda *inputs: session.run(["logits"], dict(zip(names, inputs, strict=True)))[0]


def _save_torch(program: torch.export.ExportedProgram, told: str, path: Path) -> None:
    with path.open("wb") as file:  # given a name, torch insists on the suffix .pt2
        torch.export.save(program, file, extra_files={CARD: told})


def _load_torch(path: Path) -> Run:
    with path.open("rb") as file:
        module = torch.export.load(file).module()
    return lambda *inputs: module(*map(torch.from_numpy, inputs)).numpy()


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


def _check_onnx_is_there() -> None:
    missing = [
        name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InputError(
            f"ONNX needs {', '.join(missing)}, which is not installed; run `pip install 'weclick[export]'`, "
            "or give --format torch, which needs nothing more"
        )
