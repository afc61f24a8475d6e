"""How much time and memory does Gated CRF take? Compares it with the public code, which unfolds the window.

Forward and backward of both take turns in one process. The report gives medians and all runs. The memory of
each is measured in a separate process: the peak of its resident set minus what it held with its inputs.
The images are patches of one colour with some noise, and every pixel is valid, so both must agree.

    python benchmarks/gated_crf.py --sizes 192 384

At 384, unfolding needs 11 GiB and more than half a minute. Linux only. If other programs run, set
GOMP_SPINCOUNT=10000, or threads that wait for each other slow it down.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from weclick.common.machine import machine, versions
from weclick.losses import gated_crf

HERE = Path(__file__).resolve().parent
SIGMA_XY, SIGMA_RGB = 6.0, 0.1
MIB = 2**20

Loss = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    if options.measure:
        print(extra_memory(LOSSES[options.measure], options.sizes[0], options))
        return
    rows, load = [], os.getloadavg()[0]
    for size in options.sizes:
        check_memory(size, options)
        memory = {name: run_apart(name, size, options) for name in LOSSES}
        rows.append(compare(size, memory, options))
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("torch"),
        "options": described(options),
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
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[192, 384], help="sides of the grid (default 192 384)")
    add("--batch", type=int, default=4, help="images (default 4)")
    add("--classes", type=int, default=19, help="K (default 19)")
    add("--radius", type=int, default=5, help="of the window, in grid pixels (default 5)")
    add("--rounds", type=int, default=2, help="runs of each, in turn (default 2)")
    add("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: torch's)")
    add("--output", type=Path, default=HERE / "results" / "gated_crf.json", help="JSON to write")
    add("--measure", choices=LOSSES, help=argparse.SUPPRESS)
    return parser.parse_args()


def weclick_form(probs: Tensor, rgb: Tensor, valid: Tensor, radius: int) -> Tensor:
    return gated_crf(probs, rgb, radius=radius, valid=valid)


def unfolded_form(probs: Tensor, rgb: Tensor, valid: Tensor, radius: int) -> Tensor:
    """The steps of the published code: features, mask and probabilities as (2r+1)^2 shifted copies."""
    batch, _, height, width = probs.shape
    side = 2 * radius + 1
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = torch.stack([x, y])[None].expand(batch, -1, -1, -1) / SIGMA_XY
    features = torch.cat([position, rgb / SIGMA_RGB], 1)

    def unfold(values: Tensor) -> Tensor:
        columns = F.unfold(values, side, padding=radius)
        return columns.view(batch, values.shape[1], side**2, height, width)

    k = torch.exp(-0.5 * (unfold(features) - features[:, :, None]).square().sum(1))
    k = k * unfold(valid)[:, 0]
    k[:, side**2 // 2] = 0
    pull = (k[:, None] * unfold(probs)).sum(2)
    return (k.sum() - (pull * probs).sum()) / valid.sum()


LOSSES: dict[str, Loss] = {"weclick": weclick_form, "unfolded": unfolded_form}


def make_inputs(size: int, options: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(options.batch, options.classes, size, size, generator=generator)
    patches = torch.randn(options.batch, 3, -(-size // 8), -(-size // 8), generator=generator)
    noise = 0.1 * torch.randn(options.batch, 3, size, size, generator=generator)
    rgb = F.interpolate(patches, scale_factor=8)[..., :size, :size] + noise
    return logits.softmax(1).requires_grad_(), rgb, torch.ones(options.batch, 1, size, size)


def run_once(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor], radius: int) -> tuple[float, float, Tensor]:
    """Seconds of forward and backward, the loss, and its gradient."""
    began = time.perf_counter()
    value = loss(*inputs, radius)
    (gradient,) = torch.autograd.grad(value, inputs[0])
    return time.perf_counter() - began, value.item(), gradient


def compare(size: int, memory: dict[str, int], options: argparse.Namespace) -> dict[str, Any]:
    inputs = make_inputs(size, options)
    run_once(weclick_form, make_inputs(16, options), options.radius)
    seconds: dict[str, list[float]] = {name: [] for name in LOSSES}
    values, gradients = {}, {}
    for name in ["weclick", "unfolded"] * options.rounds:
        spent, values[name], gradients[name] = run_once(LOSSES[name], inputs, options.radius)
        seconds[name].append(spent)
    ours, theirs = (statistics.median(seconds[name]) for name in LOSSES)
    off = (gradients["weclick"] - gradients["unfolded"]).abs().max() / gradients["unfolded"].abs().max()
    return {
        "grid_px": size,
        "weclick_s": round(ours, 4),
        "unfolded_s": round(theirs, 3),
        "times_faster": round(theirs / ours, 1),
        "weclick_mib": round(memory["weclick"] / MIB, 1),
        "unfolded_mib": round(memory["unfolded"] / MIB, 1),
        "share_of_memory": round(memory["weclick"] / memory["unfolded"], 4),
        "loss_off": abs(values["weclick"] / values["unfolded"] - 1),
        "gradient_off": off.item(),
        "weclick_runs_s": [round(each, 4) for each in seconds["weclick"]],
        "unfolded_runs_s": [round(each, 3) for each in seconds["unfolded"]],
    }


def run_apart(name: str, size: int, options: argparse.Namespace) -> int:
    """`extra_memory` in a separate process."""
    command = [sys.executable, __file__, "--measure", name, "--sizes", str(size)]
    for key in ("batch", "classes", "radius", "threads"):
        command += [f"--{key}", str(getattr(options, key))]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def extra_memory(loss: Loss, size: int, options: argparse.Namespace) -> int:
    """The peak memory of this process minus what it holds before, in bytes."""
    run_once(loss, make_inputs(16, options), options.radius)  # makes torch load its lazy parts
    inputs = make_inputs(size, options)
    held = from_proc("self/status", "VmRSS")
    run_once(loss, inputs, options.radius)
    return from_proc("self/status", "VmHWM") - held


def from_proc(file: str, key: str) -> int:
    """A value in kB from a line of a file, as bytes. (getrusage may give the peak of the parent.)"""
    lines = Path("/proc", file).read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def check_memory(size: int, options: argparse.Namespace) -> None:
    copies = (2 * options.radius + 1) ** 2 * (2 * options.classes + 10)
    needed = 4 * copies * options.batch * size**2
    free = from_proc("meminfo", "MemAvailable")
    if needed > 0.8 * free:
        raise SystemExit(
            f"unfolding at {size} takes about {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free: "
            "give smaller --sizes, or wait until other programs have ended"
        )


def show(rows: list[dict[str, Any]]) -> None:
    shown = [{key: value for key, value in row.items() if not key.endswith("runs_s")} for row in rows]
    table = Table(*shown[0])
    for row in shown:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)


def described(options: argparse.Namespace) -> dict[str, Any]:
    sigmas = {"sigma_xy": SIGMA_XY, "sigma_rgb": SIGMA_RGB}
    return {key: getattr(options, key) for key in ("batch", "classes", "radius", "rounds")} | sigmas


if __name__ == "__main__":
    main()
