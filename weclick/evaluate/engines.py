"""What turns frames into logits: a network in torch, or a file that `weclick export` wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from weclick.common.bounded_json import parse_json
from weclick.common.errors import InputError, MissingFileError
from weclick.evaluate.export_formats import Opened, open_onnx, open_openvino
from weclick.geometry import grid_size
from weclick.models.build import ARCHITECTURES, TWO_STREAM
from weclick.models.inference import batch_logits, fused_for_inference
from weclick.store.model_file import ModelCard, described_network

Precision = Literal["float32", "bfloat16"]
"""Of a network's weights and features. Logits are float32 in each."""

GIVE_CLASS_MAPS = (*ARCHITECTURES, TWO_STREAM)
"""Architectures of networks that give every pixel a class."""

EXPORTED = {".onnx": "onnx", ".xml": "openvino"}
"""Ending of an exported file that runs here -> its format."""

RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}
"""Format -> the one package that its files need to run. To write them takes more."""


class Engine(NamedTuple):
    """A network of class maps that is ready to run.

    Attributes:
        card: what the network tells of itself.
        logits: B images (H, W, 3) uint8 RGB of one size, and B stacks of flow (2L, H, W) or none -> logits
            (B, K, h, w) float32, on the network's own grid or as large as the images.
        told: by what it runs, in words.
    """

    card: ModelCard
    logits: Callable[[Sequence[np.ndarray], Sequence[Tensor]], Tensor]
    told: str


def is_exported(path: Path) -> bool:
    """Whether a file is one of those of `weclick export` that run here, by its ending."""
    return path.suffix in EXPORTED


def torch_engine(
    model: nn.Module, card: ModelCard, checkpoint: Path, device: str, precision: Precision | None = None
) -> Engine:
    """A network in torch, with its batch norms folded.

    Args:
        model: in eval mode, on `device`.
        card: its card.
        checkpoint: its file, for errors.
        device: where it computes.
        precision: of weights and features; None: float32.

    Raises:
        InputError: the network gives no class maps.
    """
    name = card.options["architecture"]
    if name not in GIVE_CLASS_MAPS:
        raise InputError(
            f"{checkpoint}: is a {name}, whose maps are no class maps; give the model.safetensors of a "
            "teacher, student or detector"
        )
    fused = fused_for_inference(model).to(memory_format=torch.channels_last)
    runs = _InBfloat16(fused) if precision == "bfloat16" else fused
    stride: Any = model.stride

    def logits(images: Sequence[np.ndarray], stacks: Sequence[Tensor]) -> Tensor:
        return batch_logits(runs, images, device, size=grid_size(images[0].shape[:2], stride), stacks=stacks)

    return Engine(card, logits, f"{device} in bfloat16" if precision == "bfloat16" else device)


class _InBfloat16(nn.Module):
    """A network whose weights and features are bfloat16; what it takes and gives is float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.stack_length = network.to(torch.bfloat16), getattr(network, "stack_length", 0)

    def forward(self, *inputs: Tensor) -> Tensor:
        """(B, C, H, W) float32 each -> logits (B, K, h, w) float32."""
        return self.network(*(each.to(torch.bfloat16) for each in inputs)).float()


def exported_engine(path: Path, precision: Precision | None = None) -> Engine:
    """A file that `weclick export` wrote, run on the processor by ONNX Runtime or OpenVINO.

    Args:
        path: model.onnx, model.int8.onnx, or model.xml with its model.bin beside it.
        precision: of OpenVINO's computing; None: float32. An ONNX file says itself what it computes in.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no such file, is damaged, a package is missing, or an ONNX file is given a
            precision.
    """
    format = EXPORTED[path.suffix]
    if not path.exists():
        raise MissingFileError(f"{path}: cannot be read, there is no such file; weclick export writes it")
    if format == "onnx" and precision:
        raise InputError(f"{path}: an ONNX file says itself what it computes in; leave the precision out")
    if find_spec(RUNTIMES[format]) is None:
        raise InputError(
            f"{path}: runs in {RUNTIMES[format]}, which is not installed; run `pip install "
            f"{RUNTIMES[format]}`, or give a model.safetensors, which needs nothing more"
        )
    file = _opened(path, "bf16" if precision == "bfloat16" else "f32")
    card = _card(path, file.told)

    def logits(images: Sequence[np.ndarray], stacks: Sequence[Tensor]) -> Tensor:
        _check_size(path, file.size, images[0].shape)
        rgb = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2), np.float32)
        inputs = (rgb, torch.stack(list(stacks)).cpu().float().numpy()) if stacks else (rgb,)
        return torch.from_numpy(file.run(*inputs))

    by = f"OpenVINO in {precision or 'float32'}" if format == "openvino" else "ONNX Runtime"
    return Engine(card, logits, f"cpu by {by}")


def _opened(path: Path, precision: str) -> Opened:
    """Runtimes raise errors of their own, which have no class in common."""
    try:
        return open_onnx(path) if EXPORTED[path.suffix] == "onnx" else open_openvino(path, precision)
    except Exception as error:
        (first, *_) = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path}: cannot be run ({first}); give a file that weclick export wrote. If this was one, it is "
            "damaged, or its model.bin is missing: export the network again"
        ) from error


def _card(path: Path, told: str | None) -> ModelCard:
    """The model card that an exported file holds, checked as that of a checkpoint."""
    if told is None:
        raise InputError(
            f"{path}: has no card of weclick, so its classes are not known; give a file that weclick export "
            "wrote, or a model.safetensors"
        )
    try:
        card = parse_json(told.encode())["card"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: its card cannot be read ({type(error).__name__}: {error}); export the network again"
        ) from error
    return described_network(path, card)[1]


def _check_size(path: Path, own: tuple[int | None, int | None], shape: Sequence[int]) -> None:
    if any(taken is not None and taken != given for taken, given in zip(own, shape[:2], strict=True)):
        raise InputError(
            f"{path}: takes images of {own[0]}x{own[1]} px (HxW) alone, but one has {shape[0]}x{shape[1]} px "
            f"as the network sees it; export it for that size (weclick export --size {shape[0]}x{shape[1]}), "
            "or give its model.safetensors"
        )
