"""How fast a student is: frames a second of the published networks, or of your own, in several modes.

A frame is counted as in `weclick.evaluate.speed`: a normalised image in, a class map of its size out, one at
a time. Weights are random: they do not change the time. The modes are measured in turn, round after round: a
busy moment of the machine meets all alike. Figures are medians.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode

from weclick.common.errors import InputError
from weclick.common.load import watched_load
from weclick.common.machine import machine, versions
from weclick.common.progress import progress_bar
from weclick.common.sections import TWO_STREAM, Config
from weclick.common.stages import looks_at_stacks
from weclick.datasets import open_dataset
from weclick.evaluate.bench.runtimes import in_runtime
from weclick.evaluate.bench.student_table import spell_size
from weclick.evaluate.export_formats import check_packages
from weclick.manifest.frame_size import frame_size
from weclick.manifest.images import shrunk_size
from weclick.models import build_model
from weclick.models.inference import fused_for_inference, stack_length

Size = tuple[int, int]
"""(H, W) px."""


class Paper(NamedTuple):
    """A network of the paper: how to build it, and the printed frames a second on a V100, by size."""

    architecture: str
    backbone: str
    frames_per_second: dict[Size, float]


CITYSCAPES, CAMVID = (1024, 2048), (352, 480)
PAPER = {
    "DL-R101": Paper("deeplabv3plus", "resnet101", {CITYSCAPES: 8.41}),
    "DL-R18": Paper("deeplabv3plus", "resnet18", {CITYSCAPES: 22.06, CAMVID: 128.3}),
    "DL-R34": Paper("deeplabv3plus", "resnet34", {}),
    "DL-Mob": Paper("deeplabv3plus", "mobilenetv2", {CITYSCAPES: 25.97}),
    "PSP-R101": Paper("pspnet", "resnet101", {CITYSCAPES: 3.42}),
    "PSP-R18": Paper("pspnet", "resnet18", {CITYSCAPES: 15.63}),
    "PSP-Mob": Paper("pspnet", "mobilenetv2", {CITYSCAPES: 52.23}),
}
STUDENTS = ("DL-R18", "DL-Mob", "PSP-R18", "PSP-Mob")
SIZES = (CITYSCAPES, CAMVID)


class Mode(NamedTuple):
    """A way to run a network.

    Attributes:
        channels_last: the memory order in which convolutions are fastest.
        fused: batch norms folded into the convolutions.
        bf16: weights and features in bfloat16; logits are float32 again.
        compiled: by torch.compile, for this very size.
        graph: recorded once as a CUDA graph and replayed.
        runtime: of another runtime, its format of `weclick export`; empty: torch.
    """

    channels_last: bool = False
    fused: bool = False
    bf16: bool = False
    compiled: bool = False
    graph: bool = False
    runtime: str = ""


MODES = {
    "eager": Mode(),
    "channels_last": Mode(channels_last=True),
    "fused": Mode(channels_last=True, fused=True),
    "bf16": Mode(channels_last=True, fused=True, bf16=True),
    "compile": Mode(channels_last=True, fused=True, compiled=True),
    "bf16_compile": Mode(channels_last=True, fused=True, bf16=True, compiled=True),
    "cuda_graph": Mode(channels_last=True, fused=True, bf16=True, graph=True),
    "onnx": Mode(fused=True, runtime="onnx"),
    "openvino": Mode(fused=True, runtime="openvino"),
    "int8": Mode(fused=True, runtime="int8"),
}
FEWEST, MOST = 3, 100
"""Rounds of a measurement."""


class ClassMap(nn.Module):
    """A network that gives class ids at the size of the image, which a stack of flow may follow."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, *stack: Tensor) -> Tensor:
        """(1, 3, H, W) ImageNet-normalised -> class ids (1, H, W) uint8."""
        logits = self.network(image, *stack).float()
        logits = interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return logits.argmax(1).byte()


def bench_students(
    networks: Mapping[str, Mapping[str, Any]],
    *,
    sizes: Sequence[Size] = SIZES,
    modes: Sequence[str] | None = None,
    device: str = "cpu",
    seconds: float = 10.0,
) -> dict[str, Any]:
    """Measure networks at sizes, in modes.

    Args:
        networks: name -> arguments of `build_model`, see `network_options`.
        sizes: of the frames.
        modes: of `MODES`; None takes `default_modes`.
        device: cpu or cuda.
        seconds: how long to measure one network at one size, in `FEWEST` to `MOST` rounds of all modes.

    Returns:
        machine, versions, and `table` with a row for each network, size and mode: parameters, multiply_adds,
        ms_per_frame, frames_per_second, rounds, and the paper's frames_per_second or None.

    Raises:
        InputError: a mode is unknown, or this machine cannot run it.
        ValueError: a network is unknown.
    """
    modes = modes or default_modes(device)
    for mode in modes:
        check_mode(mode, device)
    facts = {(name, size): _facts(name, networks[name], size) for name in networks for size in sizes}
    rows = []
    watch = watched_load(torch.get_num_threads())
    with progress_bar("bench student", len(facts), "networks and sizes") as bar, watch as load:
        for (name, size), known in facts.items():
            bar.say(f"{name} {spell_size(size)}")
            times = measure(networks[name], size, modes, device=device, seconds=seconds)
            rows += [{**known, "mode": mode, **_figures(taken)} for mode, taken in times.items()]
            bar.advance()
    told = {**machine(device), "load": load}
    return {"machine": told, "versions": versions("torch", "torchvision"), "table": rows}


def network_options(name: str) -> dict[str, Any]:
    """Arguments of `build_model` for a network of the paper, or for architecture:backbone; 19 classes.

    Raises:
        InputError: it is neither.
    """
    architecture, colon, backbone = name.partition(":")
    if name not in PAPER and not colon:
        raise InputError(
            f"--network {name!r}: is none of {', '.join(PAPER)}; expected one of them, or "
            "architecture:backbone such as deeplabv3plus:mobilenetv2_compact"
        )
    known = PAPER.get(name)
    architecture, backbone = (known.architecture, known.backbone) if known else (architecture, backbone)
    return {"architecture": architecture, "backbone": backbone, "num_classes": 19}


def configured(config: Config) -> tuple[dict[str, Any], Size]:
    """The student of a whole configuration, and the size of the first frame of its split `data.val`.

    Raises:
        ValueError, FileNotFoundError: the data set is not there, or has no such split.
    """
    dataset = open_dataset(config["data"])
    frame = dataset.clips(config["data"]["val"])[0].frames[0]
    size = frame_size(dataset.root / frame.image)
    student = config["student"]
    options = {
        "architecture": student["architecture"],
        "backbone": student["backbone"],
        "channels": student["channels"],
        "head_norm": student["head_norm"],
        "output_stride": student["output_stride"],
        "num_classes": len(dataset.classes.names),
    }
    if student["architecture"] == TWO_STREAM:
        options |= {"fusion": student["fusion"], "late_fusion": student["late_fusion"]}
    if looks_at_stacks(config):
        options["stack_length"] = config["stack"]["length"]
    return options, shrunk_size(size, dataset.shrink)


def default_modes(device: str) -> tuple[str, ...]:
    """The modes of torch worth a look: all on a GPU; on a CPU none that compiles, and bf16 if native."""
    if device.startswith("cuda"):
        own = [mode for mode in MODES if not MODES[mode].runtime]
        return tuple(mode for mode in own if not MODES[mode].compiled or _compiler())
    native = torch.cpu._is_avx512_bf16_supported()  # elsewhere it is emulated, and four times slower
    return ("eager", "channels_last", "fused", *(["bf16"] if native else []))


def check_mode(mode: str, device: str) -> None:
    """Check a mode before anything runs.

    Raises:
        InputError: there is no such mode, or this machine lacks what it needs.
    """
    if mode not in MODES:
        raise InputError(f"--mode {mode!r}: expected one of {', '.join(MODES)}")
    if MODES[mode].graph and not device.startswith("cuda"):
        raise InputError(f"--mode {mode}: needs a GPU, but the device is {device}; leave this mode out")
    if (runtime := MODES[mode].runtime) and device != "cpu":
        raise InputError(f"--mode {mode}: runs on a processor, but the device is {device}; add --device cpu")
    if runtime:
        check_packages([runtime], instead="leave this mode out")
    if MODES[mode].compiled and not _compiler():
        raise InputError(f"--mode {mode}: needs a C++ compiler, but finds no g++; install it, or set CXX")


def prepare(network: nn.Module, mode: Mode, *inputs: Tensor) -> Callable[[], Tensor]:
    """A call that runs one frame in a mode; the network stays as it is.

    Args:
        network: in float32.
        mode: one of the values of `MODES`.
        inputs: (1, 3, H, W) ImageNet-normalised, on the device to run on; and (1, 2L, H, W) for a network
            that looks at stacks of flow.

    Returns:
        It gives the class ids (1, H, W) uint8 of the image.
    """
    model = fused_for_inference(network) if mode.fused else deepcopy(network).eval()
    if mode.runtime:
        return in_runtime(ClassMap(model), mode.runtime, *inputs)
    dtype = torch.bfloat16 if mode.bf16 else torch.float32
    layout = torch.channels_last if mode.channels_last else torch.contiguous_format
    run: Any = ClassMap(model).requires_grad_(False).to(inputs[0].device, dtype).to(memory_format=layout)
    seen = tuple(each.to(dtype).contiguous(memory_format=layout) for each in inputs)
    if mode.compiled:
        run = torch.compile(run, dynamic=False)
    if mode.graph:
        run = torch.cuda.make_graphed_callables(run, seen)
    return lambda: run(*seen)


@torch.no_grad()
def measure(
    options: Mapping[str, Any],
    size: Size,
    modes: Sequence[str],
    *,
    device: str = "cpu",
    seconds: float = 10.0,
) -> dict[str, list[float]]:
    """Time a network's frames, the modes in turn, after one round that does not count.

    Args:
        options: arguments of `build_model`.
        size: of the frame.
        modes: of `MODES`.
        device: cpu or cuda.
        seconds: how long to measure, in `FEWEST` to `MOST` rounds.

    Returns:
        Mode -> seconds of every round.
    """
    torch.manual_seed(0)
    torch.compiler.reset()  # else torch.compile gives up after some networks, and runs them eagerly
    network = build_model(**options)
    inputs = [each.to(device) for each in _inputs(network, size)]
    runs = {mode: prepare(network, MODES[mode], *inputs) for mode in modes}
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {mode: [] for mode in modes}
    until = time.perf_counter() + seconds
    for done in range(MOST):
        if done >= FEWEST and time.perf_counter() > until:
            break
        for mode, run in runs.items():
            _synchronize(device)
            began = time.perf_counter()
            run()
            _synchronize(device)
            times[mode].append(time.perf_counter() - began)
    return times


def multiply_adds(options: Mapping[str, Any], size: Size) -> int:
    """Multiply-adds of a network's convolutions for one frame; nothing is run."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = build_model(**options).eval()
        network(*_inputs(network, size))
    return counter.get_total_flops() // 2


def _inputs(network: nn.Module, size: Size) -> list[Tensor]:
    """Noise in the place of an image, and of a stack of flow if the network looks at one."""
    length = stack_length(network)
    return [torch.randn(1, channels, *size) for channels in (3, 2 * length) if channels]


def _facts(name: str, options: Mapping[str, Any], size: Size) -> dict[str, Any]:
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build_model(**options).parameters())
    return {
        "network": name,
        "size_px": list(size),
        "parameters": parameters,
        "multiply_adds": multiply_adds(options, size),
        "paper_frames_per_second": PAPER[name].frames_per_second.get(size) if name in PAPER else None,
    }


def _figures(seconds: Sequence[float]) -> dict[str, Any]:
    return {
        "ms_per_frame": round(1e3 * median(seconds), 3),
        "frames_per_second": round(1 / median(seconds), 3),
        "rounds": len(seconds),
    }


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))
