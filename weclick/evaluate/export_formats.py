"""The formats of an exported network: how each is written, and how its file runs here, to be checked."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from weclick.common.errors import InputError

CARD = "weclick.json"
"""Name of the card inside a .pt2 file; in ONNX it is the metadata `weclick`, in OpenVINO the rt_info."""

RT_INFO = "weclick"
"""Where the card lies in the metadata of an ONNX file and in OpenVINO's rt_info."""

FILES = {
    "onnx": ("model.onnx",),
    "torch": ("model.pt2",),
    "openvino": ("model.bin", "model.xml"),
    "int8": ("model.int8.onnx",),
}
"""Format -> the files that it writes. The last one is the file that a runtime is given."""

FROM_ONNX = ("onnx", "openvino", "int8")
"""Formats that are made by way of ONNX."""

EXTRAS = {"export": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}
"""Extra -> its packages."""

Run = Callable[..., np.ndarray]
"""The inputs of a network, in order -> its logits."""


class Opened(NamedTuple):
    """An exported file that runs here.

    Attributes:
        run: images (B, 3, H, W) float32, and stacks if it looks at flow -> logits (B, K, H, W) float32.
        told: its card as JSON, see `weclick.evaluate.export.describe`; None: it has none.
        size: (H, W) px that it takes; None: any.
    """

    run: Run
    told: str | None
    size: tuple[int | None, int | None]


def import_openvino() -> Any:
    """The package openvino. It finds no telemetry here, by which it would report each import to Intel."""
    silenced = "openvino_telemetry" not in sys.modules
    if silenced:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        if silenced:
            del sys.modules["openvino_telemetry"]


def check_packages(
    formats: Collection[str], instead: str = "give --format torch, which needs nothing more"
) -> None:
    """Check that the packages which formats need are installed.

    Args:
        formats: of `FILES`.
        instead: what else the user can do.

    Raises:
        InputError: one is missing.
    """
    needed = ["export"] if any(name in FROM_ONNX for name in formats) else []
    needed += ["openvino"] if "openvino" in formats else []
    packages = [name for extra in needed for name in EXTRAS[extra]]
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        what = "OpenVINO" if "openvino" in formats else "int8" if "int8" in formats else "ONNX"
        raise InputError(
            f"{what} needs {', '.join(missing)}, which is not installed; run `pip install "
            f"'weclick[{','.join(needed)}]'`, or {instead}"
        )


def save_onnx(program: torch.export.ExportedProgram, told: str, path: Path) -> None:
    """Write a program as ONNX, with its card as metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they concern the exporter's own parts, which no user can mend
        names = list(program.graph_signature.user_inputs)
        converted = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=names, output_names=["logits"]
        )
    assert converted is not None
    converted.model.metadata_props[RT_INFO] = told
    converted.save(str(path), external_data=False)


def open_onnx(path: Path) -> Opened:
    """An ONNX file, run by ONNX Runtime on the processor."""
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    height, width = (each if isinstance(each, int) else None for each in session.get_inputs()[0].shape[2:])

    def run(*inputs: np.ndarray) -> np.ndarray:
        (logits,) = session.run(["logits"], dict(zip(names, inputs, strict=True)))
        return np.asarray(logits)

    return Opened(run, session.get_modelmeta().custom_metadata_map.get(RT_INFO), (height, width))


def save_torch(program: torch.export.ExportedProgram, told: str, path: Path) -> None:
    """Write a program as torch does, with its card as an extra file."""
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={CARD: told})


def load_torch(path: Path) -> Run:
    """A torch.export program, run by torch."""
    with path.open("rb") as file:
        module = torch.export.load(file).module()
    return lambda *inputs: module(*map(torch.from_numpy, inputs)).numpy()


def save_openvino(onnx: Path, told: str, path: Path) -> None:
    """Write an ONNX file as OpenVINO's .xml and .bin in float32, with the card as rt_info."""
    openvino = import_openvino()
    model = openvino.Core().read_model(str(onnx))
    model.set_rt_info(told, [RT_INFO])
    openvino.save_model(model, str(path), compress_to_fp16=False)


def open_openvino(path: Path, precision: str = "f32") -> Opened:
    """An OpenVINO model, run on the processor.

    Args:
        path: of the .xml.
        precision: f32 or bf16. Without it OpenVINO would take bfloat16 by itself if the processor can.
    """
    core = import_openvino().Core()
    model = core.read_model(str(path))
    network = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    told = model.get_rt_info(RT_INFO).value if model.has_rt_info(RT_INFO) else None
    height, width = (
        each.get_length() if each.is_static else None for each in network.inputs[0].partial_shape[2:]
    )
    return Opened(lambda *inputs: network(list(inputs))["logits"], told, (height, width))
