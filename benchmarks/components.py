"""How fast are the objects of a label map found, on the CPU (cc3d) and on a GPU (union-find)?

Both take turns in one process and must find the same objects. The fastest run of each counts; the report
lists all runs. `find` numbers and measures all objects, including the way to the GPU and back. `clicks` is
the whole of `clicks_from_labels`; its remaining part runs on the CPU in both cases. `bare` is what one writes
with cc3d alone: components, their statistics, and a loop that rounds the centroid of each large one, whether
it belongs to the object or not. The labels are made up: blobs of 19 classes with ragged borders and some
stray pixels. Without a GPU or CuPy, only the CPU is measured, by the processor time of the process; other
work on the machine lengthens that less.

    python benchmarks/components.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cc3d
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from weclick.clicks import clicks_from_labels, components, components_cuda, scaled_min_pixels

HERE = Path(__file__).resolve().parent
SIZES = ((360, 480), (1024, 2048))
CLASSES = 19
STRAY = 0.002


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    gpu = gpu_name()
    if gpu is None:
        print("no GPU that CuPy finds: only the CPU is measured, and nothing is said of which is faster")
    devices = ["cpu"] if gpu is None else ["cpu", "cuda"]
    rows = [compare(size, devices, options.rounds) for size in SIZES]
    report = {
        "machine": machine(gpu, load),
        "versions": versions(),
        "options": {"rounds": options.rounds, "classes": CLASSES, "stray_pixels": STRAY},
        "table": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    show(rows)
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=9, help="runs of each, after one to warm up (default 9)"
    )
    output = HERE / "results" / "components.json"
    parser.add_argument("--output", type=Path, default=output, help="JSON to write")
    return parser.parse_args()


def draw_labels(height: int, width: int) -> np.ndarray:
    """(H, W) uint8: the class with the highest smooth random field, and stray pixels of any class."""
    generator = np.random.default_rng(0)
    labels, highest = np.zeros((height, width), np.uint8), np.full((height, width), -np.inf, np.float32)
    for class_id in range(CLASSES):
        coarse, fine = (
            cv2.resize(generator.standard_normal((8 * n, 16 * n), np.float32), (width, height))
            for n in (1, 8)
        )
        field = coarse + 0.3 * fine
        labels[field > highest] = class_id
        np.maximum(field, highest, out=highest)
    stray = generator.random((height, width)) < STRAY
    labels[stray] = generator.integers(0, CLASSES, int(stray.sum()))
    return labels


def compare(size: tuple[int, int], devices: list[str], rounds: int) -> dict[str, Any]:
    labels = draw_labels(*size)
    options = {"min_pixels": scaled_min_pixels(512, (1024, 2048), size), "seed": 0}
    modules = {"cpu": components, "cuda": components_cuda}
    clock = time.process_time if devices == ["cpu"] else time.perf_counter
    works: dict[str, Callable[[], Any]] = {"bare": lambda: bare_clicks(labels, options["min_pixels"])}
    for device in devices:
        works[f"find_{device}"] = lambda device=device: modules[device].find_objects(labels + 1, None)
        works[f"clicks_{device}"] = lambda device=device: clicks_from_labels(labels, **options, device=device)
    results = {name: work() for name, work in works.items()}
    for device in devices:
        if not np.array_equal(results[f"clicks_{device}"], results["clicks_cpu"]):
            raise SystemExit(f"{device} gives other clicks than the CPU at {size[0]}x{size[1]}")
    runs: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = clock()
            work()
            runs[name].append(1000 * (clock() - began))
    best = {name: round(min(each), 3) for name, each in runs.items()}
    return {
        "size_px": f"{size[0]}x{size[1]}",
        "components": results["find_cpu"][1],
        "clicks": len(results["clicks_cpu"]),
        "bare_ms": best["bare"],
        "bare_to_clicks_cpu": round(best["bare"] / best["clicks_cpu"], 2),
        **{f"{name}_ms": best.get(name) for name in ("find_cpu", "find_cuda", "clicks_cpu", "clicks_cuda")},
        "times_faster_on_cuda": round(best["clicks_cpu"] / best["clicks_cuda"], 2)
        if "clicks_cuda" in best
        else None,
        **{f"{name}_runs_ms": [round(each, 3) for each in times] for name, times in runs.items()},
    }


def bare_clicks(labels: np.ndarray, min_pixels: int) -> list[tuple[int, int, int]]:
    """(class id, y, x) of the rounded centroid of each large component."""
    objects = cc3d.connected_components(labels + np.uint8(1), connectivity=8, out_dtype=np.uint32)
    told = cc3d.statistics(objects, no_slice_conversion=True)
    found = []
    for number in np.flatnonzero(told["voxel_counts"][1:] >= min_pixels) + 1:
        y, x = np.round(told["centroids"][number]).astype(int)
        found.append((labels[y, x], y, x))
    return found


def gpu_name() -> str | None:
    """The name of the GPU that CuPy uses, or None."""
    try:
        import cupy
    except ImportError:
        return None
    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode() if cupy.cuda.is_available() else None


def machine(gpu: str | None, load: float) -> dict[str, Any]:
    lines = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if Path("/proc/cpuinfo").exists()
        else []
    )
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads_used": 1,
        "load_before": round(load, 2),
        "device": gpu or "cpu",
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("numpy", "connected-components-3d", "cupy-cuda13x", "cupy-cuda12x", "weclick"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def show(rows: list[dict[str, Any]]) -> None:
    shown = [{key: value for key, value in row.items() if not key.endswith("runs_ms")} for row in rows]
    table = Table(*shown[0])
    for row in shown:
        table.add_row(*("not measured" if value is None else str(value) for value in row.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
