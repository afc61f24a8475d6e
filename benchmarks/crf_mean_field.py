"""What does a dense CRF cost: exact on a loss's grid, and in the lattice at a frame's size? Do both agree?

`weclick.losses.mean_field` counts all pairs of pixels; pydensecrf2 (extra `crf`) filters in a permutohedral
lattice, as `evaluate.crf` does. Both get drawn fields of colour with noise, and noisy probabilities that lean
to the field of a pixel. Times are seconds of the processor for 10 iterations, medians over runs that take
turns. With --image, a photograph is timed in the place of the drawn one. A second table tells on how many
pixels of a small drawn image both choose the same class.

    python benchmarks/crf_mean_field.py --rounds 3 --image frame.jpg
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from weclick.common.crf_package import require_crf
from weclick.common.machine import machine, versions
from weclick.losses import mean_field
from weclick.losses.mean_field import PRESETS
from weclick.manifest.images import read_image
from weclick.proxy_labels.lattice_crf import lattice_mean_field

HERE = Path(__file__).resolve().parent
ACCEPTED_S = 0.3
"""At most so long may exact mean field take on `GRID`."""

GRID = (41, 41, 21)
CASES = {
    "exact": [GRID],
    "lattice": [GRID, (240, 432, 3), (240, 432, 21), (480, 854, 21)],
}
"""Heights, widths and numbers of classes that are timed."""

COMPARED = (32, 44, 3)


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    require_crf("this benchmark compares with the lattice")
    torch.set_num_threads(1)
    rows, agreement = timed(options), [compared(preset) for preset in PRESETS]
    exact = next(row["cpu_seconds"] for row in rows if row["what"] == "exact")
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("torch", "pydensecrf2"),
        "options": {
            "rounds": options.rounds,
            "preset": options.preset,
            "iterations": 10,
            "image": "a photograph" if options.image else "drawn",
        },
        "table": rows,
        "agreement": agreement,
        "accepted_seconds": ACCEPTED_S,
        "accepted": exact <= ACCEPTED_S,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    show(rows)
    show(agreement)
    print(f"exact mean field within {ACCEPTED_S} s: {report['accepted']}; written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="runs of each, in turn (default 3)")
    add("--image", type=Path, help="photograph to time, brought to each size (default: the drawn fields)")
    add("--preset", choices=PRESETS, default="deeplab_v1", help="kernels to time (default deeplab_v1)")
    output = HERE / "results" / "crf_mean_field.json"
    add("--output", type=Path, default=output, help="JSON to write")
    return parser.parse_args()


def drawn(height: int, width: int, classes: int) -> tuple[Tensor, np.ndarray]:
    """Noisy probabilities (K, H, W) and a noisy image (H, W, 3) uint8 of fields that are a fifth as large."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(classes, size=(5, 5))
    truth = coarse[np.arange(height) * 5 // height][:, np.arange(width) * 5 // width]
    colors = rng.integers(40, 216, (classes, 3))
    image = np.clip(colors[truth] + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    logits = np.eye(classes)[truth] + rng.normal(0, 1, (height, width, classes))
    return torch.from_numpy(logits.transpose(2, 0, 1)).float().softmax(0), image


def timed(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each case: the median of its runs, after one exact run on a small image to warm up."""
    exact_of("sec", *drawn(8, 8, 3))
    ways: dict[str, Callable[..., np.ndarray]] = {"exact": exact_of, "lattice": lattice_of}
    cases = [(what, size) for what, sizes in CASES.items() for size in sizes]
    runs: dict[tuple[str, tuple[int, int, int]], list[float]] = {case: [] for case in cases}
    for what, size in cases * options.rounds:
        probs, image = drawn(*size)
        if options.image:
            image = cv2.resize(read_image(options.image), size[1::-1], interpolation=cv2.INTER_AREA)
        began = time.process_time()
        ways[what](options.preset, probs, image)
        runs[what, size].append(time.process_time() - began)
    return [
        {
            "what": what,
            "size_px": list(size[:2]),
            "classes": size[2],
            "cpu_seconds": round(statistics.median(seconds), 4),
            "runs_s": [round(each, 4) for each in seconds],
        }
        for (what, size), seconds in runs.items()
    ]


def compared(preset: str) -> dict[str, Any]:
    """How far the lattice is from exact mean field, on one small image."""
    given = drawn(*COMPARED)
    exact, lattice = exact_of(preset, *given), lattice_of(preset, *given)
    return {
        "preset": preset,
        "same_class": round(float((exact.argmax(0) == lattice.argmax(0)).mean()), 4),
        "mean_difference": round(float(np.abs(exact - lattice).mean()), 4),
    }


def exact_of(preset: str, probs: Tensor, image: np.ndarray) -> np.ndarray:
    return mean_field(probs, torch.from_numpy(image), preset).numpy()


def lattice_of(preset: str, probs: Tensor, image: np.ndarray) -> np.ndarray:
    return lattice_mean_field(probs, image, preset)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
