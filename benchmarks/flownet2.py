"""How fast and how large is FlowNet2? Compares it with its plain form, and on a GPU with the hardware limit.

The plain form computes the same numbers in the usual way: weights in torch's default order, and a correlation
that goes through its 441 displacements one after another. Both run in turn, each time in a separate process,
so that each has its own peak of memory. Weights are random.

    python benchmarks/flownet2.py                # what this machine has: on a CPU a few minutes
    python benchmarks/flownet2.py --device cuda  # pairs a second by precision and batch, beside the limit
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
from torch import Tensor, nn

from weclick.common.machine import machine, versions
from weclick.flow.flownet2 import parts as flownet2_parts
from weclick.flow.flownet2.correlation import correlation, correlation_banded
from weclick.flow.flownet2.estimator import PRECISIONS, FlowNet2Estimator
from weclick.flow.flownet2.networks import FlowNet2

RESULTS = Path(__file__).resolve().parent / "results"
SIZES = ((97, 131), (360, 480), (375, 1242), (512, 1024), (1024, 2048))
COMPARED = (512, 1024)
FULL = (1024, 2048)
HALVED = (256, 512)
ROUNDS = 3


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(measure_alone(*options.one)))
        return
    on_gpu = options.device.startswith("cuda")
    result: dict[str, Any] = {
        "machine": machine(options.device) | versions("torch"),
        "correlation": compare_correlations(options.device),
    }
    show("correlation of 1x256xhxw, seconds", result["correlation"])
    if on_gpu:
        result |= measure_gpu(options.batch)
        show("pairs a second at 1024x2048", result["pairs_per_second"])
    else:
        result["whole"] = compare_wholes(options.threads)
        show("FlowNet2, a pair", result["whole"])
        result["sizes"] = [run_alone("ours", size, options.threads) for size in SIZES]
        show("ours, by size", result["sizes"])
        result["precision"] = compare_precisions()
        show("half precision against fp32", result["precision"])
    path = RESULTS / f"flownet2_{'cuda' if on_gpu else 'cpu'}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8], help="pairs at once, on a GPU")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- the correlation alone ----------------------------------------------------------------------------------


def compare_correlations(device: str) -> list[dict[str, Any]]:
    """Run the plain form and ours in turn: forward, and forward with backward."""
    forms: dict[str, Callable[..., Tensor]] = {"plain": correlation_plain, "banded": correlation_banded}
    if device.startswith("cuda"):
        forms["kernel"] = correlation
    rows = []
    for height, width, gradient in ((64, 128, False), (64, 128, True), (128, 256, False)):
        maps = torch.randn(2, 1, 256, height, width, device=device)
        chosen = {name: form for name, form in forms.items() if not (gradient and name == "kernel")}
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(ROUNDS + 1):
            for name, form in chosen.items():
                seconds[name].append(time_correlation(form, maps, gradient))
        row: dict[str, Any] = {"h": height, "w": width, "backward": gradient}
        row |= {name: round(statistics.median(times[1:]), 5) for name, times in seconds.items()}
        fastest = list(chosen)[-1]
        rows.append({**row, "plain_to_ours": round(row["plain"] / row[fastest], 1)})
    return rows


def correlation_plain(first: Tensor, second: Tensor) -> Tensor:
    """The usual form: FlowNet2's 441 displacements, one after another."""
    height, width = first.shape[2:]
    around = F.pad(second, (20,) * 4)
    steps = range(0, 41, 2)
    windows = (around[:, :, dy : dy + height, dx : dx + width] for dy in steps for dx in steps)
    return torch.cat([(first * window).mean(1, keepdim=True) for window in windows], 1)


def time_correlation(form: Callable[..., Tensor], maps: Tensor, gradient: bool) -> float:
    first, second = maps.detach().clone().requires_grad_(gradient).unbind(0)
    synchronize()
    began = time.perf_counter()
    with torch.set_grad_enabled(gradient):
        output = form(first, second)
        if gradient:
            output.sum().backward()
    synchronize()
    return time.perf_counter() - began


# --- the whole net on a CPU ---------------------------------------------------------------------------------


def compare_wholes(threads: int) -> list[dict[str, Any]]:
    """Run the plain form and ours in turn. Returns medians."""
    forms = ("plain", "ours")
    measured = [{form: run_alone(form, COMPARED, threads) for form in forms} for _ in range(ROUNDS)]
    return [
        {
            key: value
            if isinstance(value, str)
            else round(statistics.median(m[form][key] for m in measured), 3)
            for key, value in measured[0][form].items()
        }
        for form in forms
    ]


def run_alone(form: str, size: tuple[int, int], threads: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--threads", str(threads), "--one", form, *map(str, size)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_alone(form: str, height: str, width: str) -> dict[str, Any]:
    """Run one pair to warm up and one to measure. Returns also the memory of the process."""
    estimator = random_estimator()
    if form == "plain":
        flownet2_parts.correlation = correlation_plain
        estimator._network.to(memory_format=torch.contiguous_format)
    pair = [torch.randint(0, 256, (1, 3, int(height), int(width)), dtype=torch.uint8) for _ in range(2)]
    before = peak_mib()
    estimator.estimate(*pair)
    began, cpu_began = time.perf_counter(), time.process_time()
    estimator.estimate(*pair)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return {
        "form": form,
        "size_px": f"{height}x{width}",
        "cpu_seconds_per_pair": round(cpu_seconds, 3),
        "seconds_per_pair": round(seconds, 3),
        "peak_process_mib": peak_mib(),
        "before_estimating_mib": before,
    }


def peak_mib() -> int:
    """The process's peak of resident memory. `getrusage` would still remember the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def compare_precisions() -> list[dict[str, Any]]:
    """End-point error of half precision against fp32, with random weights; its speed matters on GPUs only."""
    target, neighbour = (smooth_frames(1, seed, HALVED) for seed in (0, 1))
    exact = random_estimator().estimate(target, neighbour)
    rows = []
    for precision in ("bf16", "fp16"):
        error = (random_estimator(precision).estimate(target, neighbour) - exact).norm(dim=1)
        rows.append({"precision": precision, "size_px": "x".join(map(str, HALVED)), **describe(error, exact)})
    return rows


def describe(error: Tensor, exact: Tensor) -> dict[str, float]:
    return {
        "error_mean_px": round(float(error.mean()), 4),
        "error_max_px": round(float(error.max()), 3),
        "mean_flow_px": round(float(exact.norm(dim=1).mean()), 2),
    }


def random_estimator(precision: str = "fp32", device: str = "cpu") -> FlowNet2Estimator:
    """FlowNet2 with weights that keep activations near 1. They are made in place, without file or copy."""
    with torch.device("meta"):
        network: nn.Module = FlowNet2()
    network = network.to_empty(device=device).to(memory_format=torch.channels_last)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in network.named_parameters():
        transposed = "deconv" in name or "upsampled" in name
        inputs = parameter.shape[0] * 4 if transposed else parameter[0].numel()
        gain = 1.0 if "predict" in name or "upsampled" in name or "inter" in name else 2.0
        std = (gain / inputs) ** 0.5 if parameter.ndim == 4 else 0.05
        nn.init.normal_(parameter, std=std, generator=generator)
    estimator = FlowNet2Estimator.__new__(FlowNet2Estimator)
    estimator._network = network.eval().requires_grad_(False)
    estimator._device, estimator._precision, estimator._shares = torch.device(device), precision, True
    return estimator


# --- a GPU --------------------------------------------------------------------------------------------------


def measure_gpu(batches: list[int]) -> dict[str, Any]:
    """Pairs a second by precision and batch, memory, error to fp32, the correlation's share, the limit."""
    target, neighbour = (smooth_frames(max(batches), seed) for seed in (0, 1))
    exact = random_estimator("fp32", "cuda").estimate(target[:1], neighbour[:1])
    operations = count_operations()
    rows = []
    for precision in PRECISIONS:
        rate = matrix_rate(precision)
        estimator = random_estimator(precision, "cuda")
        error = (estimator.estimate(target[:1], neighbour[:1]) - exact).norm(dim=1)
        for batch in batches:
            torch.cuda.reset_peak_memory_stats()
            given = target[:batch], neighbour[:batch]
            seconds = time_gpu(lambda given=given, estimator=estimator: estimator.estimate(*given))
            share = time_gpu(lambda batch=batch, p=precision: correlate_gpu(batch, p)) / seconds
            rows.append(
                {
                    "precision": precision,
                    "batch": batch,
                    "pairs_per_second": round(batch / seconds, 2),
                    "limit_pairs_per_second": round(rate / operations, 1),
                    "correlation_share": round(share, 3),
                    **describe(error, exact),
                    "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
                }
            )
    return {"operations_per_pair": operations, "pairs_per_second": rows}


def correlate_gpu(batch: int, precision: str) -> None:
    dtype = PRECISIONS[precision] or torch.float32
    maps = torch.randn(2, batch, 256, FULL[0] // 8, FULL[1] // 8, device="cuda", dtype=dtype)
    correlation(maps[0], maps[1])


def count_operations(network: nn.Module | None = None) -> int:
    """Floating-point operations of the convolutions and of the correlation, for one pair of the full size.

    Args:
        network: a FlowNet2 that there is already; None makes one.
    """
    from torch.utils.flop_counter import FlopCounterMode

    flownet2_parts.correlation = lambda first, second: first.new_zeros(1, 441, *first.shape[2:])
    try:
        with FlopCounterMode(display=False) as counter:
            network = network or random_estimator()._network
            network(torch.zeros(1, 3, 2, 64, 64, device=next(network.parameters()).device))
    finally:
        flownet2_parts.correlation = correlation
    times_larger = FULL[0] * FULL[1] // 64**2  # every layer works on a fixed share of the pixels
    return counter.get_total_flops() * times_larger + 2 * 441 * 256 * FULL[0] * FULL[1] // 64


def matrix_rate(precision: str, side: int = 8192) -> float:
    """Operations a second of a large matrix product in that precision: the limit for all else here."""
    dtype = PRECISIONS[precision] or torch.float32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    a, b = torch.randn(2, side, side, device="cuda", dtype=dtype)
    return 2 * side**3 / time_gpu(lambda: a @ b)


def time_gpu(work: Callable[[], Any], rounds: int = 5) -> float:
    for _ in range(2):
        work()
    times = []
    for _ in range(rounds):
        synchronize()
        began = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def smooth_frames(count: int, seed: int, size: tuple[int, int] = FULL) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, size[0] // 16, size[1] // 16), generator=generator) * 255
    return nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 255).to(torch.uint8)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# --- telling ------------------------------------------------------------------------------------------------


def show(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
