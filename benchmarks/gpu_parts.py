"""The parts of `gpu.py` that measure. It starts each in a process of its own.

What a part has found is written at once, so a part that fails or is cut short keeps it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from gpu_found import Setting, short, used_versions
from gpu_limits import DTYPES, Cost, Moved, cost_of, measure_rates, seconds_of, synchronize
from torch import nn

from weclick.common.load import watched_load

CITYSCAPES, CAMVID = (1024, 2048), (352, 480)
FLOWS = (("bf16", 8), ("bf16", 4), ("bf16", 1), ("fp16", 8), ("fp32", 4), ("tf32", 4))
"""Precision and pairs at once, by worth."""

FEW_FLOWS = (("bf16", 1), ("fp32", 1))
"""Those of a try on a CPU, where fp16 would take minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("part", choices=PARTS)
    add("--device", choices=["cpu", "cuda"], default="cuda")
    add("--small", action="store_true", help="tiny sizes")
    add("--rates", type=json.loads, default={}, help="what the part `limits` found, as JSON")
    add("--folder", type=Path, help="that drawn data lie below")
    add("--output", type=Path, required=True, help="JSON to write")
    given = parser.parse_args()
    at = Setting(given.device, given.small, given.rates, given.folder, given.output)
    with watched_load(torch.get_num_threads()) as load:
        PARTS[given.part](at)
    peak = {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)} if at.device == "cuda" else {}
    at.tell(load=load, versions=used_versions(), **peak)


def measure_limits(at: Setting) -> None:
    """Matrix products by precision, and copies."""
    rates = measure_rates(at.device, 128 if at.small else 8192, 8 if at.small else 4096, at.for_s / 2)
    at.tell(rates=rates)
    for precision in DTYPES:
        at.claim(f"matrix product, {precision}: TFLOP/s", rates[f"{precision}_flops"] / 1e12)
    for way in ("copy", "upload", "download"):
        at.claim(f"{way}: GB/s", rates[f"{way}_bytes"] / 1e9)


# --- flow ---------------------------------------------------------------------------------------------------


def measure_flow(at: Setting) -> None:
    """FlowNet2's pairs a second, with the correlation as the product chooses it, and that alone."""
    from weclick.flow.flownet2.correlation import correlation, correlation_banded
    from weclick.flow.flownet2.correlation_cuda import has_cupy

    chosen = "one kernel" if at.device == "cuda" and has_cupy() else "matrix products"
    size = flow_rates(at, FEW_FLOWS if at.small else FLOWS)
    at.tell(correlation=chosen)
    for precision in dict.fromkeys(row["precision"] for row in at.found["table"]):
        rows = [row for row in at.found["table"] if row["precision"] == precision]
        best = max(rows, key=lambda row: row["pairs_per_second"])
        says = f"FlowNet2, {size[0]}x{size[1]}, {precision}: pairs/s"
        asked = 25 if precision == "bf16" else None
        at.claim(says, best["pairs_per_second"], best["limit_pairs_per_second"], asked=asked)
    h, w = (side // 8 for side in size)
    maps = [torch.randn(1, 256, h, w, device=at.device).bfloat16() for _ in range(2)]
    maps = [each.contiguous(memory_format=torch.channels_last) for each in maps]
    limit = Cost(2 * 441 * 256 * h * w, (2 * 256 + 441) * h * w).limit(at.rates, "bf16")
    ways = {chosen: correlation, "matrix products": correlation_banded}  # on a CPU they are one
    for name, way in ways.items():
        seconds = seconds_of(lambda way=way: way(*maps), at.device, at.for_s)
        at.claim(f"  its correlation, bf16, by {name}: pairs/s", 1 / seconds, limit)


def measure_flow_without_kernel(at: Setting) -> None:
    """The same in bf16 with the correlation by matrix products: does the kernel pay?"""
    from weclick.flow.flownet2 import parts
    from weclick.flow.flownet2.correlation import correlation_banded

    parts.correlation = correlation_banded
    flow_rates(at, (FEW_FLOWS if at.small else FLOWS)[:1])
    (row,) = at.found["table"]
    says = "FlowNet2, bf16, without its kernel: pairs/s"
    at.claim(says, row["pairs_per_second"], row["limit_pairs_per_second"])


def flow_rates(at: Setting, flows: Sequence[tuple[str, int]]) -> tuple[int, int]:
    """Tell a row for each precision and batch, with frames on the host and on the device; returns (H, W)."""
    from flownet2 import random_estimator, smooth_frames

    size = (64, 64) if at.small else CITYSCAPES
    estimator = random_estimator(device=at.device)
    cost = cost_of_flow(estimator._network, size)
    at.tell(size_px=size, operations_per_pair=cost.flops, table=[])
    frames = [smooth_frames(max(batch for _, batch in flows), seed, size) for seed in (0, 1)]
    for precision, batch in flows:
        estimator._precision = precision
        here = [each[:batch] for each in frames]
        there = [each.to(at.device) for each in here]
        seconds, resident = (
            seconds_of(lambda pair=pair: estimator.estimate(*pair), at.device, at.for_s)
            for pair in (here, there)
        )
        row = {
            "precision": precision,
            "batch": batch,
            "pairs_per_second": short(batch / seconds),
            "pairs_per_second_of_frames_on_the_device": short(batch / resident),
            "limit_pairs_per_second": short(cost.limit(at.rates, precision)),
        }
        at.tell(table=[*at.found["table"], row])
    return size


def cost_of_flow(network: nn.Module, size: tuple[int, int]) -> Cost:
    """Of a pair. Every layer works on a fixed share of the pixels; the correlation is added by hand."""
    from flownet2 import FULL, count_operations

    with Moved() as moved:
        flops = count_operations(network)  # on 64x64 px, scaled up to FULL
    pixels = size[0] * size[1]
    read_and_written = (2 * 256 + 441) * pixels // 64  # by the correlation: two maps in, one out
    features = moved.features * pixels / 64**2
    return Cost(flops * pixels / (FULL[0] * FULL[1]), moved.weights + features + read_and_written)


# --- training -----------------------------------------------------------------------------------------------


def measure_wait(at: Setting) -> None:
    """The share of a training's time that waits for data, beside what the stream gives by itself."""
    from reads_data import CLASSES, make_store, open_stream
    from step import SCALE, time_shares

    from weclick.models import build_model

    crop, batch, steps = (64, 2, 3) if at.small else (768, 4, 40)
    options = Namespace(full_crop=crop, full_batch=batch, accumulate=1, steps=steps, device=at.device)
    options.log_every = 1 if at.small else 10  # at each line the host waits for the GPU
    with at.scratch() as folder:
        manifest, caches = make_store(folder, (128, 256) if at.small else CITYSCAPES, 2)
        trained = time_shares(folder, manifest, caches, options)
        at.tell(crop_px=crop, targets=batch, **trained)
        stream = open_stream(manifest, caches, crop, SCALE, batch)
        ends, images = [], 0
        for given in stream.batches(0, steps, torch.device(at.device)):
            synchronize(at.device)
            ends.append(time.perf_counter())
            images = len(given.images)
    alone = statistics.mean(np.diff(ends[len(ends) // 4 :]))
    wait, step = trained["time_shares"]["wait"], trained["seconds_a_step"]
    cost = cost_of(build_model("deeplabv3plus", "resnet18", CLASSES), (crop, crop))
    whole = Cost(3 * images * cost.flops, 3 * images * cost.values)  # backward takes two forwards
    at.tell(seconds_a_batch_alone=short(alone))
    least = max(0.0, 1 - step * (1 - wait) / alone)
    at.claim("training: share of a step that waits for data", wait, least, asked=0.03, at_least=False)
    at.claim(f"  its steps/s, {images} crops of {crop}", 1 / step, whole.limit(at.rates, "bf16"))
    at.claim("  batches/s of its stream alone", 1 / alone)


def measure_losses(at: Setting) -> None:
    """Eq. 5 beside forward and backward of the student, in float32 and as trainings run it on a GPU."""
    import losses

    size = 64 if at.small else 768
    options = Namespace(size=size, samples=4, frames=3, classes=19, at_once=12, device=at.device)
    options.rounds = 1 if at.small else 5
    runs = losses.take_turns(options)
    seconds = {what: statistics.median(taken) for what, taken in runs.items()}
    at.tell(size_px=size, table=[{"what": what, "seconds": short(each)} for what, each in seconds.items()])
    halved = seconds_of(student_step(at.device, size, options), at.device, at.for_s)
    at.tell(student_bf16_s=short(halved))
    at.claim("Eq. 5 over the student's step in bf16", seconds["Eq. 5"] / halved, asked=0.03, at_least=False)
    at.claim("  over that in float32", seconds["Eq. 5"] / seconds["student"])
    pixels = options.samples * (size // losses.STRIDE_PX) ** 2
    # Each of 120 neighbours: a kernel of 8 operations, and K products. Logits are read, gradients written.
    cost = Cost(120 * (8 + 2 * options.classes) * pixels, (2 * options.classes + 3) * pixels)
    at.claim("  Gated CRF: runs/s", 1 / seconds["gated_crf"], cost.limit(at.rates, "fp32"))


def student_step(device: str, size: int, options: Namespace) -> Callable[[], None]:
    """Forward and backward of the ResNet-18 student in bf16 autocast, on one batch of all frames."""
    from weclick.models import build_model

    student = build_model("deeplabv3plus", "resnet18", options.classes).to(device).train()
    student.to(memory_format=torch.channels_last)
    images = torch.randn(options.samples * options.frames, 3, size, size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with torch.autocast(device, torch.bfloat16):
            logits = student(images)
        logits.backward(torch.ones_like(logits))
        student.zero_grad(set_to_none=True)

    return run


# --- objects and students -----------------------------------------------------------------------------------


def measure_components(at: Setting) -> None:
    """Clicks of a label on the GPU beside the CPU."""
    from components import compare, gpu_name

    devices = ["cpu", "cuda"] if at.device == "cuda" and gpu_name() else ["cpu"]
    size = CAMVID if at.small else CITYSCAPES
    row = compare(size, devices, 1 if at.small else 5)
    at.tell(devices=devices, table=[row])
    pixels = size[0] * size[1]
    moved = at.rates and pixels / at.rates["upload_bytes"] + 4 * pixels / at.rates["download_bytes"]
    limit = row["clicks_cpu_ms"] / 1000 / moved if moved else None
    at.claim("clicks of a label, GPU over one CPU: times", row["times_faster_on_cuda"], limit)


def measure_students(at: Setting) -> None:
    """Frames a second of the students, one at a time."""
    from weclick.evaluate.bench.student import STUDENTS, bench_students, network_options

    names, sizes = (STUDENTS[:1], [(64, 128)]) if at.small else (STUDENTS, [CITYSCAPES])
    modes = ("cuda_graph", "bf16") if at.device == "cuda" else ("fused",)
    networks = {name: network_options(name) for name in names}
    seconds = 0.0 if at.small else 2.0
    table = bench_students(networks, device=at.device, sizes=sizes, modes=modes, seconds=seconds)["table"]
    at.tell(table=table)
    for row in table:
        limit = at.rates and at.rates["bf16_flops"] / (2 * row["multiply_adds"])
        at.claim(f"{row['network']}, {row['mode']}: frames/s", row["frames_per_second"], limit or None)


def measure_labels(at: Setting) -> None:
    """See `gpu_labels`."""
    from gpu_labels import measure_labels as measure

    measure(at)


PARTS: dict[str, Callable[[Setting], None]] = {
    "limits": measure_limits,
    "flow": measure_flow,
    "soft_labels": measure_labels,
    "data_wait": measure_wait,
    "losses": measure_losses,
    "components": measure_components,
    "students": measure_students,
    "flow_without_kernel": measure_flow_without_kernel,
}

if __name__ == "__main__":
    main()
