"""What do the student's losses cost, compared with forward and backward of the student itself?

Three things take turns in one process. First, all terms of Eq. 5 (partial cross-entropy, Gated CRF, knowledge
and memory-flow distillation) through `weclick.train.objective.Objective` at its defaults, forward and
backward to the logits. Second, the DeepLabV3+ ResNet-18 student on the same images (float32, channels_last, a
given gradient on its logits). Third, the two distillations in the plain form that autograd differentiates.
The report gives medians and all runs. The extra memory of the distillations is measured in separate
processes.

    python benchmarks/losses.py --rounds 3
    python benchmarks/losses.py --device cuda --at-once 12

The student takes groups of --at-once images one after another and adds up its gradients. So its time is that
of the whole batch, but its memory is not (about 1 GiB an image of 768x768). Linux only. If other programs
run, set GOMP_SPINCOUNT=10000, or threads that wait for each other slow it down.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gated_crf import MIB, from_proc
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from weclick.common.config import complete_config
from weclick.common.machine import machine, versions
from weclick.geometry import backward_warp
from weclick.models import build_model
from weclick.train.data.batch import Batch
from weclick.train.objective import Objective

HERE = Path(__file__).resolve().parent
STRIDE_PX = 4
CLICKS_PER_TARGET = 60
TERMS = ("partial_cross_entropy", "gated_crf", "kd", "mfd")

Loss = Callable[[Tensor, Batch], Tensor]


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    if options.measure:
        print(extra_memory(LOSSES[options.measure], options))
        return
    load = os.getloadavg()[0]
    memory = {name: run_apart(name, options) for name in ("distillations", "plain distillations")}
    runs = take_turns(options)
    rows, summary = table(runs), compare(runs, memory)
    report = {
        "machine": machine(options.device) | {"load_before": round(load, 2)},
        "versions": versions("torch"),
        "options": {key: value for key, value in vars(options).items() if key not in ("output", "measure")},
        "table": rows,
        **summary,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    show(rows, summary)
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", type=int, default=768, help="sides of the images, px (default 768)")
    add("--samples", type=int, default=4, help="targets of a batch (default 4)")
    add("--frames", type=int, default=3, help="n, frames of a sample with its target (default 3)")
    add("--classes", type=int, default=19, help="K (default 19)")
    add("--at-once", type=int, default=3, help="images that the student takes at once (default 3)")
    add("--rounds", type=int, default=3, help="runs of each, in turn (default 3)")
    add("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: torch's)")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--output", type=Path, help="JSON to write (default results/losses.json or losses_cuda.json)")
    add("--measure", choices=LOSSES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    name = "losses.json" if options.device == "cpu" else "losses_cuda.json"
    options.output = options.output or HERE / "results" / name
    return options


def eq_5(*terms: str) -> Loss:
    """The objective at its defaults, with only these terms on."""
    off: dict[str, Any] = {term: {"weight": 0.0} for term in TERMS if term not in terms}
    objective = Objective(complete_config(off), steps=1, class_weights=None)
    return lambda logits, batch: torch.stack(list(objective(logits, batch, step=1).values())).sum()


def plain_distillations(logits: Tensor, batch: Batch) -> Tensor:
    """Eqs. 3 and 4 written down directly; autograd keeps every step."""
    assert batch.teacher is not None
    teacher = batch.teacher / batch.teacher.sum(1, keepdim=True)
    log_student = logits.log_softmax(1)
    divergence = (torch.xlogy(teacher, teacher) - teacher * log_student).sum(1, keepdim=True)
    kd = torch.where(batch.inside, divergence, 0).sum() / batch.inside.sum()

    probs = logits.softmax(1)
    inside = batch.inside[batch.targets :].to(probs)
    warped, valid = backward_warp(torch.cat([probs[batch.targets :], inside], 1), batch.flow)
    valid = valid & (warped[:, -1:] > 0.999) & batch.inside[batch.target_of] & batch.flow_valid
    warped = warped[:, :-1].detach()
    trust = torch.exp(-(warped - batch.teacher[batch.target_of]).abs())
    error = (trust * (probs[batch.target_of] - warped).square()).sum(1, keepdim=True)
    mfd = torch.where(valid, error, 0).sum() / valid.sum()
    return (kd * len(logits) + mfd * batch.neighbours) / batch.targets


LOSSES: dict[str, Loss] = {
    "Eq. 5": eq_5(*TERMS),
    **{term: eq_5(term) for term in TERMS},
    "distillations": eq_5("kd", "mfd"),
    "plain distillations": plain_distillations,
}


def make_inputs(size: int, options: argparse.Namespace) -> tuple[Tensor, Batch]:
    """Logits like those of a student, and a batch: smooth random fields, a border of padding, masks."""
    generator = torch.Generator().manual_seed(0)
    targets, side = options.samples, -(-size // STRIDE_PX)
    frames = targets * options.frames
    neighbours = frames - targets

    def smooth(count: int, channels: int, side: int) -> Tensor:
        coarse = torch.randn(count, channels, max(2, side // 16), max(2, side // 16), generator=generator)
        return F.interpolate(coarse, size=(side, side), mode="bilinear")

    inside = torch.ones(frames, 1, side, side, dtype=torch.bool)
    inside[..., : side // 16] = False
    clicks = targets * CLICKS_PER_TARGET
    image = torch.arange(clicks)[:, None] % targets
    batch = Batch(
        images=smooth(frames, 3, size),
        inside=inside,
        points=torch.cat([image, torch.rand(clicks, 2, generator=generator) * (size - 1)], 1),
        classes=torch.randint(0, options.classes, (clicks,), generator=generator),
        target_of=torch.arange(neighbours) % targets,
        flow=2 * smooth(neighbours, 2, side),
        flow_valid=smooth(neighbours, 1, side) > -0.5,
        teacher=(4 * smooth(frames, options.classes, side)).softmax(1),
    )
    logits = 4 * smooth(frames, options.classes, side) + torch.randn(side, side, generator=generator)
    parts = {name: value for name, value in vars(batch).items() if torch.is_tensor(value)}
    moved = replace(batch, **{name: value.to(options.device) for name, value in parts.items()})
    logits = logits.to(options.device).contiguous(memory_format=torch.channels_last)
    return logits.requires_grad_(), moved


def run_loss(loss: Loss, logits: Tensor, batch: Batch) -> None:
    torch.autograd.grad(loss(logits, batch), logits)


def run_student(student: nn.Module, images: Tensor, gradient: Tensor, at_once: int) -> None:
    """Forward and backward of all images, from a gradient on the logits."""
    for some, slope in zip(images.split(at_once), gradient.split(at_once), strict=True):
        student(some).backward(slope)
    student.zero_grad(set_to_none=True)


def seconds(run: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def take_turns(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every run of the student and of each loss."""
    logits, batch = make_inputs(options.size, options)
    student = build_model("deeplabv3plus", "resnet18", options.classes).to(options.device)
    student.to(memory_format=torch.channels_last).train()
    images = batch.images.contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(LOSSES["Eq. 5"](logits, batch), logits)
    turns: dict[str, Callable[[], None]] = {
        "student": lambda: run_student(student, images, gradient, options.at_once),
        **{name: lambda loss=loss: run_loss(loss, logits, batch) for name, loss in LOSSES.items()},
    }
    run_student(student, images[:2], gradient[:2], 2)
    for loss in LOSSES.values():
        run_loss(loss, logits, batch)
    runs: dict[str, list[float]] = {name: [] for name in turns}
    for name in list(turns) * options.rounds:
        runs[name].append(seconds(turns[name], options.device))
    return runs


def run_apart(name: str, options: argparse.Namespace) -> int:
    """`extra_memory` in a separate process."""
    command = [sys.executable, __file__, "--measure", name]
    for key in ("size", "samples", "frames", "classes", "threads", "device"):
        command += [f"--{key}", str(getattr(options, key))]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def extra_memory(loss: Loss, options: argparse.Namespace) -> int:
    """The peak memory of this process, or of the GPU, minus what it holds before, in bytes."""
    run_loss(loss, *make_inputs(64, options))  # makes torch load its lazy parts
    inputs = make_inputs(options.size, options)
    if options.device == "cuda":
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run_loss(loss, *inputs)
        return torch.cuda.max_memory_allocated() - held
    held = from_proc("self/status", "VmRSS")
    run_loss(loss, *inputs)
    return from_proc("self/status", "VmHWM") - held


def table(runs: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Medians, and their ratios to the student's."""
    medians = {name: statistics.median(values) for name, values in runs.items()}
    return [
        {
            "what": name,
            "seconds": round(medians[name], 4),
            "share_of_student": round(medians[name] / medians["student"], 4),
            "runs_s": [round(value, 4) for value in runs[name]],
        }
        for name in runs
    ]


def compare(runs: dict[str, list[float]], memory: dict[str, int]) -> dict[str, Any]:
    """Compare Eq. 5 with the student, and the distillations with their plain form."""
    medians = {name: statistics.median(values) for name, values in runs.items()}
    names = "distillations", "plain distillations"
    (ours, theirs), (ours_bytes, theirs_bytes) = ([from_[n] for n in names] for from_ in (medians, memory))
    return {
        "eq_5_share_of_student": round(medians["Eq. 5"] / medians["student"], 4),
        "distillations_share_of_plain_time": round(ours / theirs, 3),
        "distillations_share_of_plain_memory": round(ours_bytes / theirs_bytes, 3),
        "distillations_mib": round(ours_bytes / MIB, 1),
        "plain_distillations_mib": round(theirs_bytes / MIB, 1),
    }


def show(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    shown = Table("forward + backward", "seconds", "of the student")
    for row in rows:
        shown.add_row(row["what"], f"{row['seconds']:.4g}", f"{row['share_of_student']:.2%}")
    Console().print(shown)
    for name, value in summary.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
