"""How fast do exported students run on a CPU: torch, ONNX Runtime, OpenVINO, and ONNX in int8?

A frame is RGB 0..255 in, a class map of its size out, one at a time. Engines take turns, round after round,
so that a busy moment of the machine meets all alike; figures are medians. Weights are random, since they
change no time, so agreement says what precision does to arg-max, and nothing of trained networks. Threads
are the same for all. Run nothing else. If other programs run, set GOMP_SPINCOUNT=10000, or threads of torch
that wait for each other slow it down.

    PYTHONPATH=. python benchmarks/export_engines.py
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from PIL import Image
from reads import show
from torch.nn.functional import interpolate

from weclick.common.load import watched_load
from weclick.common.machine import machine, versions
from weclick.evaluate.export import export_model
from weclick.evaluate.export_formats import import_openvino
from weclick.manifest import Classes
from weclick.models import build_model, normalize
from weclick.models.inference import fused_for_inference
from weclick.store.model_file import load_model, model_bytes

HERE = Path(__file__).resolve().parent
STUDENTS = {
    "compact MobileNetV2": {"backbone": "mobilenetv2_compact", "channels": 64},
    "ResNet18": {"backbone": "resnet18"},
}
SIZES = ((352, 480), (512, 1024))
CLASSES = 19
CALIBRATION = 8
Engine = Callable[[np.ndarray], np.ndarray]
"""rgb (1, 3, H, W) float32 -> class ids (1, H, W)."""


def main() -> None:
    options, before = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    with watched_load(options.threads) as load:
        for name in options.networks:
            with tempfile.TemporaryDirectory() as folder:
                engines = exported(STUDENTS[name], Path(folder), options.threads)
                for size in options.sizes:
                    rows += measured(name, size, engines, options.rounds)
    report = {
        "machine": machine() | {"load_before": round(before, 2), "load": load},
        "versions": versions("torch", "onnx", "onnxruntime", "openvino", "numpy"),
        "isa": isa(),
        "rounds": options.rounds,
        "table": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(rows, "Frames a second of exported students")
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--networks", nargs="+", choices=STUDENTS, default=[*STUDENTS], help="students, each in every engine")
    add("--sizes", nargs="+", type=size_of, default=SIZES, metavar="HxW", help="of a frame, px")
    add("--rounds", type=int, default=15, help="timed for each engine, after one that is not")
    add("--threads", type=int, default=os.cpu_count() or 1)
    add("--output", type=Path, default=HERE / "results" / "export_engines.json", help="JSON to write")
    return parser.parse_args()


def size_of(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


def isa() -> list[str]:
    """What this processor has for int8 and bfloat16."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.exists() else []
    return sorted({flag for flag in flags if flag.startswith("amx_") or "vnni" in flag or "bf16" in flag})


def exported(student: dict[str, Any], folder: Path, threads: int) -> dict[str, Engine]:
    """A student in every engine; the first one is that which others are compared with."""
    torch.manual_seed(1)
    classes = Classes(tuple(map(str, range(CLASSES))), tuple((each, 0, 0) for each in range(CLASSES)))
    model = build_model("deeplabv3plus", num_classes=CLASSES, **student)
    checkpoint = folder / "model.safetensors"
    checkpoint.write_bytes(model_bytes(model, classes))
    frames = folder / "frames"
    frames.mkdir()
    for number in range(CALIBRATION):
        Image.fromarray(frame(SIZES[0], number)).save(frames / f"{number}.png")
    export_model(checkpoint, folder, formats=("onnx", "openvino", "int8"), calibrate=frames)
    model = load_model(checkpoint)[0]
    return {
        "torch float32": of_torch(model, torch.float32),
        "torch bfloat16": of_torch(model, torch.bfloat16),
        "ONNX Runtime float32": of_onnx(folder / "model.onnx", threads),
        "ONNX Runtime int8": of_onnx(folder / "model.int8.onnx", threads),
        "OpenVINO float32": of_openvino(folder / "model.xml", threads, precision="f32"),
        "OpenVINO, its default": of_openvino(folder / "model.xml", threads),
    }


def frame(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A smooth picture: (H, W, 3) uint8, coarse noise enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 13, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def of_torch(model: torch.nn.Module, dtype: torch.dtype) -> Engine:
    """As the modes `fused` and `bf16` of `weclick bench student`."""
    network = fused_for_inference(model).to(dtype=dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(rgb: np.ndarray) -> np.ndarray:
        images = normalize(torch.from_numpy(rgb)).to(dtype=dtype, memory_format=torch.channels_last)
        logits = interpolate(network(images).float(), size=rgb.shape[-2:], mode="bilinear")
        return logits.argmax(1).numpy()

    return run


def of_onnx(path: Path, threads: int) -> Engine:
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), chosen, providers=["CPUExecutionProvider"])
    return lambda rgb: session.run(["logits"], {"rgb": rgb})[0].argmax(1)


def of_openvino(path: Path, threads: int, precision: str | None = None) -> Engine:
    hints: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    hints |= {"INFERENCE_PRECISION_HINT": precision} if precision else {}
    network = import_openvino().Core().compile_model(str(path), "CPU", hints)
    return lambda rgb: network([rgb])["logits"].argmax(1)


def measured(
    name: str, size: tuple[int, int], engines: dict[str, Engine], rounds: int
) -> list[dict[str, Any]]:
    """A row for each engine."""
    rgb = np.ascontiguousarray(frame(size).transpose(2, 0, 1)[None], np.float32)
    maps = {engine: run(rgb) for engine, run in engines.items()}
    seconds: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(rounds):
        for engine, run in engines.items():
            began = time.perf_counter()
            run(rgb)
            seconds[engine].append(time.perf_counter() - began)
    first = next(iter(maps.values()))
    base = median(seconds[next(iter(engines))])
    return [
        {
            "network": name,
            "size_px": f"{size[0]}x{size[1]}",
            "engine": engine,
            "frames_per_second": round(1 / median(took), 2),
            "ms_per_frame": round(1e3 * median(took), 1),
            "fastest_ms": round(1e3 * min(took), 1),
            "times_torch_float32": round(base / median(took), 2),
            "same_classes": round(float((maps[engine] == first).mean()), 4),
        }
        for engine, took in seconds.items()
    ]


if __name__ == "__main__":
    main()
