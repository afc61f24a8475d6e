"""A network in the runtimes that `weclick export` writes for, to be timed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from weclick.common.errors import InputError
from weclick.evaluate.export_formats import open_onnx, open_openvino, save_onnx, save_openvino
from weclick.evaluate.export_int8 import save_int8

CALIBRATION = 4
"""Frames of noise that int8 is calibrated on: the ranges do not change the time."""


class _Named(nn.Module):
    """A network whose inputs have the names that exported files have."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, rgb: Tensor, stack: Tensor | None = None) -> Tensor:
        """What the network gives."""
        given: Tensor = self.network(rgb) if stack is None else self.network(rgb, stack)
        return given


def in_runtime(network: nn.Module, format: str, *inputs: Tensor) -> Callable[[], Tensor]:
    """A call that runs a network on one frame in another runtime, on the processor.

    Args:
        network: in eval mode, on the processor.
        format: onnx, openvino or int8.
        inputs: what it takes, as it stays in all calls; their sizes are fixed in the file.

    Raises:
        InputError: a network that looks at flow has no int8 file.
    """
    if format == "int8" and len(inputs) > 1:
        raise InputError("--mode int8: a network that looks at flow has no int8 file; leave this mode out")
    given = tuple(each.numpy() for each in inputs)
    with TemporaryDirectory(prefix="weclick-bench-") as folder:
        path = Path(folder) / "model.onnx"
        with torch.no_grad():
            save_onnx(torch.export.export(_Named(network).eval(), inputs), "", path)
        if format == "openvino":
            save_openvino(path, "", path.with_suffix(".xml"))
            run = open_openvino(path.with_suffix(".xml")).run
        elif format == "int8":
            noise = np.random.default_rng(0).standard_normal((CALIBRATION, *given[0].shape), np.float32)
            save_int8(path, "", path.with_suffix(".int8.onnx"), noise)
            run = open_onnx(path.with_suffix(".int8.onnx")).run
        else:
            run = open_onnx(path).run
    return lambda: torch.from_numpy(run(*given))
