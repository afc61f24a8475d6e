"""An ONNX file in int8: static quantisation with ranges from calibration frames."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from weclick.evaluate.export_formats import RT_INFO

QUANTIZED = ("Conv", "Relu", "Clip", "MaxPool")
"""Operators that compute in int8. Group norms and resizing stay in float32, and so does what makes shapes."""


def save_int8(onnx: Path, told: str, path: Path, batches: Iterable[np.ndarray]) -> None:
    """Write an ONNX file whose convolutions compute in int8 (QDQ: each has its scales beside it).

    Weights have a scale for each output channel, activations one for each tensor: the smallest and the
    largest value over all calibration frames. Weights are signed and activations unsigned, which is the
    combination that ONNX Runtime has fast kernels for on x86. The last convolution stays in float32: it is
    small, and logits of 256 levels would make ties.

    ONNX Runtime's symbolic inference of shapes fails on sizes that are free, so plain ONNX infers them.

    Args:
        onnx: the file in float32.
        told: the card, as metadata.
        path: of the file to write.
        batches: rgb (B, 3, H, W) float32, 0..255; sizes may differ where the file takes any.
    """
    model_files, quantization = importlib.import_module("onnx"), _quantization()
    with TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        quantization.shape_inference.quant_pre_process(str(onnx), str(prepared), skip_symbolic_shape=True)
        convolutions = [each.name for each in model_files.load(prepared).graph.node if each.op_type == "Conv"]
        quantization.quantize_static(
            str(prepared),
            str(path),
            _reader(quantization, batches),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=[*QUANTIZED],
            nodes_to_exclude=convolutions[-1:],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
    model = model_files.load(path)
    model_files.helper.set_model_props(model, {RT_INFO: told})
    model_files.save(model, path)


def _quantization() -> Any:
    importlib.import_module("onnxruntime.quantization.shape_inference")
    return importlib.import_module("onnxruntime.quantization")


def _reader(quantization: Any, batches: Iterable[np.ndarray]) -> Any:
    """The frames in the form in which ONNX Runtime asks for them."""

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            rgb = next(self._left, None)
            return None if rgb is None else {"rgb": rgb}

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime warns on the root logger of what it was told to leave in float32."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
