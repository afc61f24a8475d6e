"""What does a random walk along relations cost, and how far is it from the dense one of public code?

`weclick.proxy_labels.walk` carries six drawn maps through frames of 240x432 and 480x854 px, of 60x108 and
120x214 cells, whose edges are drawn as well. Times are seconds of the processor in one thread, with the
building of the matrix, medians over rounds. Memory is the most that the whole process ever held, Python and
torch included. A small frame is compared with dense matrices in single precision, as public code has them,
and in double precision.

    python benchmarks/walk.py --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import interpolate

from weclick.common.machine import machine, versions
from weclick.losses.paths import affinities, directions
from weclick.proxy_labels import walk

HERE = Path(__file__).resolve().parent
GRIDS = ((60, 108), (120, 214))
COMPARED = (24, 40)
MAPS = 6
RADIUS, BETA, EXP_TIMES = 5, 10, 8

ACCEPTED_S, ACCEPTED_MIB = 1.5, 1024
"""At most so much may the largest grid take, in time and in memory of the process."""


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(1)
    walk(*drawn((8, 8)))
    before = peak_mib()
    rows = [timed(grid, options.rounds) for grid in GRIDS]
    accepted = rows[-1]["cpu_seconds"] <= ACCEPTED_S and rows[-1]["process_peak_mib"] <= ACCEPTED_MIB
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("torch"),
        "options": {
            "rounds": options.rounds,
            "maps": MAPS,
            "radius": RADIUS,
            "beta": BETA,
            "exp_times": EXP_TIMES,
        },
        "process_peak_mib_before": before,
        "table": rows,
        "against_dense": against_dense(),
        "accepted_seconds": ACCEPTED_S,
        "accepted_mib": ACCEPTED_MIB,
        "accepted": accepted,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    show(rows)
    print(report["against_dense"])
    print(f"within {ACCEPTED_S} s and {ACCEPTED_MIB} MiB: {accepted}; written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs on each grid (default 5)")
    output = HERE / "results" / "walk.json"
    parser.add_argument("--output", type=Path, default=output, help="JSON to write")
    return parser.parse_args()


def drawn(grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Random maps (N, h, w), and edges (h, w) where a smooth random field changes its sign."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(MAPS, *grid, generator=generator)
    field = interpolate(torch.randn(1, 1, 9, 16, generator=generator), grid, mode="bicubic")[0, 0]
    return maps, torch.sigmoid(6 - 20 * field.abs())


def timed(grid: tuple[int, int], rounds: int) -> dict[str, Any]:
    maps, edge = drawn(grid)
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        walk(maps, edge, radius=RADIUS, beta=BETA, exp_times=EXP_TIMES)
        seconds.append(time.process_time() - began)
    return {
        "cells": list(grid),
        "cpu_seconds": round(statistics.median(seconds), 4),
        "process_peak_mib": peak_mib(),
        "dense_matrix_mib": round((grid[0] * grid[1]) ** 2 * 4 / 2**20),
        "runs_s": [round(each, 4) for each in seconds],
    }


def peak_mib() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def against_dense() -> dict[str, Any]:
    """Largest differences to dense walks of both precisions, on one small frame."""
    maps, edge = drawn(COMPARED)
    found = walk(maps, edge, radius=RADIUS, beta=BETA, exp_times=EXP_TIMES)
    single, double = (dense(maps, edge, dtype) for dtype in (torch.float32, torch.float64))
    return {
        "cells": list(COMPARED),
        "largest_value": round(float(double.max()), 4),
        "ours_to_double": float((found - double).abs().max()),
        "ours_to_single": float((found - single).abs().max()),
        "single_to_double": float((single - double).abs().max()),
    }


def dense(maps: Tensor, edge: Tensor, dtype: torch.dtype) -> Tensor:
    """The walk by squaring the whole matrix."""
    height, width = edge.shape
    reach = RADIUS - 1
    wide = torch.ones(height + reach, width + 2 * reach, dtype=dtype)
    wide[:height, reach : reach + width] = edge
    weights = torch.eye(height * width, dtype=dtype)
    found = affinities(wide[None], RADIUS)[0] ** BETA
    for (dy, dx), each in zip((one.step for one in directions(RADIUS)), found, strict=True):
        y, x = torch.meshgrid(torch.arange(height - dy), torch.arange(width), indexing="ij")
        inside = (x + dx >= 0) & (x + dx < width)
        y, x = y[inside], x[inside]
        source, target = y * width + x, (y + dy) * width + x + dx
        weights[source, target] = weights[target, source] = each[y, x]
    matrix = weights / weights.sum(0)
    for _ in range(EXP_TIMES):
        matrix = matrix @ matrix
    return ((maps * (1 - edge)).to(dtype).flatten(1) @ matrix).view(maps.shape)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
