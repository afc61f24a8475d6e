"""What does a training step cost beside the student itself? Cached and online are compared.

It compares a step from the caches (reads, student, Eq. 5, optimizer) with the same step that runs the
DeepLabV3+ ResNet-101 teacher and FlowNet2 in the loop (`student.online`), on the same crops, for two
students. Both steps take turns in one process. The report gives medians and all runs. Beside the ratio of
times it gives the ratio of the operations that torch.utils.flop_counter counts (convolutions and matrix
products). That is the most that caching would win if all operations took equally long. If those of teacher
and estimator take longer, it wins more.

Then it runs some steps of `weclick.train.loop.fit` with the ResNet-18 student at full size, and shows where
their time went.

    python benchmarks/step.py
    python benchmarks/step.py --device cuda --crop 768 --batch 4 --accumulate 1 --steps 30

Data are made up, of Cityscapes' sizes; weights are random. About five minutes on two cores, 4 GiB of memory
and 2 GiB of disk. If other programs run, set GOMP_SPINCOUNT=10000.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from reads_data import CLASSES, STRIDE, make_store, open_stream
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from weclick.common.config import complete_config
from weclick.common.machine import machine, versions
from weclick.flow import FlowNet2
from weclick.manifest import Manifest
from weclick.models import build_model
from weclick.store.model_file import model_bytes
from weclick.train.data.batch import Batch
from weclick.train.data.stream import Caches
from weclick.train.devices import make_fabric
from weclick.train.log import METRICS, read_metrics
from weclick.train.loop import fit
from weclick.train.objective import Objective
from weclick.train.online import Online
from weclick.train.optimizer import make_optimizer

HERE = Path(__file__).resolve().parent
SIZE, SCALE = (1024, 2048), (0.5, 2.0)
STUDENTS = {"R18": "resnet18", "MobileNetV2": "mobilenetv2"}
STEPS = 1000
"""Length of a training. Each measured step counts as its last one, so that warm-ups are over."""

Complete = Callable[[Batch], Batch]


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="weclick-step-", dir=options.folder) as name:
        folder = Path(name)
        manifest, caches = make_store(folder, SIZE, options.clips)
        online = make_online(folder, manifest, options.device)
        rows = [row for student in STUDENTS for row in compare(student, manifest, caches, online, options)]
        shares = time_shares(folder, manifest, caches, options)
    report = {
        "machine": machine(options.device) | {"load_before": round(load, 2)},
        "versions": versions("torch"),
        "options": {key: value for key, value in vars(options).items() if key not in ("output", "folder")},
        "table": rows,
        "speed_up": {student: speed_up(rows, student) for student in STUDENTS},
        "training": shares,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    show(report)
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--crop",
        type=int,
        default=192,
        help="sides of the compared crops, px, a multiple of 64 (default 192)",
    )
    add("--batch", type=int, default=1, help="targets of the compared steps, of 3 frames each (default 1)")
    add("--rounds", type=int, default=5, help="steps of each, in turn (default 5)")
    add("--clips", type=int, default=2, help="clips to draw (default 2)")
    add("--full-crop", type=int, default=768, help="sides of the training's crops, px (default 768)")
    add("--full-batch", type=int, default=4, help="targets of a step of the training (default 4)")
    add("--accumulate", type=int, default=4, help="micro-batches of a step of the training (default 4)")
    add("--steps", type=int, default=3, help="of the training; the first does not count (default 3)")
    add("--log-every", type=int, default=1, help="steps between its looks at the GPU (default 1)")
    add("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: torch's)")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--folder", type=Path, help="where to put the drawn data (default: the system's temporary folder)")
    add("--output", type=Path, help="JSON to write (default results/step.json or step_cuda.json)")
    options = parser.parse_args()
    name = "step.json" if options.device == "cpu" else "step_cuda.json"
    options.output = options.output or HERE / "results" / name
    return options


def make_online(folder: Path, manifest: Manifest, device: str) -> Online:
    """Teacher and FlowNet2 with random weights, from files like those that a training loads."""
    torch.manual_seed(0)
    teacher, flow = folder / "teacher.safetensors", folder / "flownet2.pth"
    teacher.write_bytes(model_bytes(build_model("deeplabv3plus", "resnet101", CLASSES), manifest.classes))
    torch.save(FlowNet2().state_dict(), flow)
    section = {"teacher": teacher, "estimator": "flownet2", "options": {"weights": str(flow)}}
    return Online(
        section,
        classes=manifest.classes.names,
        stride_px=STRIDE,
        occlusion="photometric",
        device=device,
    )


def compare(
    student: str, manifest: Manifest, caches: Caches, online: Online, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for the cached and one for the online step of a student."""
    network, take = make_step(STUDENTS[student], options.device)
    streams = {
        "cached": open_batches(manifest, caches, options),
        "online": open_batches(manifest, Caches(caches.store, caches.frames, {}, {}), options),
    }
    completes: dict[str, Complete] = {"cached": lambda batch: batch, "online": online}
    counted, runs = {}, {what: [] for what in streams}
    for what, batches in streams.items():  # a first step that the times leave out
        batch, others = count_operations(completes[what], next(batches))
        with torch.no_grad():
            _, own = count_operations(network, batch.images)
        take(batch)
        counted[what] = others + 3 * own  # backward takes two forwards; the counter ignores groups there
    for _ in range(options.rounds):
        for what, batches in streams.items():
            synchronize(options.device)
            began = time.perf_counter()
            take(completes[what](next(batches)))
            synchronize(options.device)
            runs[what].append(time.perf_counter() - began)
    return [
        {
            "student": student,
            "step": what,
            "seconds": round(statistics.median(runs[what]), 4),
            "giga_operations": round(counted[what] / 1e9, 2),
            "runs_s": [round(value, 4) for value in runs[what]],
        }
        for what in streams
    ]


def count_operations(run: Callable[[Any], Any], given: Any) -> tuple[Any, int]:
    """The result of a call, and its number of multiplications and additions."""
    with FlopCounterMode(display=False) as counter:
        result = run(given)
    return result, counter.get_total_flops()


def open_batches(manifest: Manifest, caches: Caches, options: argparse.Namespace) -> Iterator[Batch]:
    stream = open_stream(manifest, caches, options.crop, SCALE, options.batch)
    return stream.batches(0, options.rounds + 1, torch.device(options.device))


def make_step(backbone: str, device: str) -> tuple[Any, Callable[[Batch], None]]:
    """A student, and a function that takes a whole step with it."""
    torch.manual_seed(0)
    settings = complete_config({})
    model = build_model("deeplabv3plus", backbone, CLASSES).to(device, memory_format=torch.channels_last)
    fabric = make_fabric(device, "auto")
    network, optimizer = fabric.setup(model.train(), make_optimizer(model, settings["student"]))
    objective = Objective(settings, steps=STEPS, class_weights=None)

    def take(batch: Batch) -> None:
        logits = network(batch.images.contiguous(memory_format=torch.channels_last))
        terms = objective(logits, batch, STEPS - 1)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(torch.stack(list(terms.values())).sum())
        optimizer.step()

    return network, take


def time_shares(
    folder: Path, manifest: Manifest, caches: Caches, options: argparse.Namespace
) -> dict[str, Any]:
    """Train with the ResNet-18 student at full size. Returns medians over all logged lines but the first."""
    settings = complete_config({"gated_crf": {"warmup": 0.0}})
    objective = Objective(settings, steps=options.steps, class_weights=None)
    chosen = settings["student"] | {
        "batch_size": options.full_batch,
        "accumulate": options.accumulate,
        "steps": options.steps,
        "log_every": options.log_every,
        "checkpoint_every": options.steps,
    }
    micro = options.full_batch // options.accumulate
    fit(
        make_fabric(options.device, "auto"),
        build_model("deeplabv3plus", "resnet18", CLASSES),
        open_stream(manifest, caches, options.full_crop, SCALE, micro),
        objective,
        shares=objective.shares,
        options=chosen,
        seed=0,
        folder=folder / "training",
        key="benchmark",
        validate=lambda network: {"miou": 0.0, "mean_accuracy": 0.0, "per_class_iou": {}},
    )
    lines = [line for line in read_metrics(folder / "training" / METRICS) if "loss" in line]
    taken = [
        (later["seconds"] - earlier["seconds"]) / (later["step"] - earlier["step"])
        for earlier, later in pairwise(lines)
    ]
    return {
        "seconds_a_step": round(statistics.median(taken), 4),
        "time_shares": {
            name: round(statistics.median(line["time_shares"][name] for line in lines[1:]), 4)
            for name in lines[0]["time_shares"]
        },
    }


def speed_up(rows: list[dict[str, Any]], student: str) -> dict[str, float]:
    """The ratio online / cached of times and of counted operations, and the ratio of these two."""
    cached, online = ([row for row in rows if row["student"] == student][i] for i in (0, 1))
    measured = online["seconds"] / cached["seconds"]
    limit = online["giga_operations"] / cached["giga_operations"]
    return {
        "measured": round(measured, 3),
        "by_operations": round(limit, 3),
        "reached": round(measured / limit, 3),
    }


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def show(report: dict[str, Any]) -> None:
    shown = Table("student", "step", "seconds", "G operations")
    for row in report["table"]:
        shown.add_row(row["student"], row["step"], f"{row['seconds']:.4g}", f"{row['giga_operations']:.1f}")
    Console().print(shown)
    for student, values in report["speed_up"].items():
        print(f"{student}: {values}")
    print(report["training"])


if __name__ == "__main__":
    main()
