"""How far does a flow carry labels? The true label of an earlier frame, warped to a later one, scored there.

For every pair (t - gap, t) of frames in the order of their names, the label of t - gap is fetched along the
flow t -> t - gap (nearest) and compared with the label of t: one confusion matrix over all pairs, so mIoU is
what segmentation papers report. Zero flow is the yardstick; a flow that does not beat it is of no use, or
points the wrong way. A mask leaves pixels out; coverage is the share that stays.

    python benchmarks/label_warp.py --frames data/camvid/val --labels data/camvid/valannot

The defaults measure CamVid's validation clip (SegNet layout, 101 frames at 15 Hz). More estimators:

    python benchmarks/label_warp.py --estimator dis --estimator "raft:model=large,weights=raft_large.pth"
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor

from weclick.flow import build_estimator
from weclick.geometry import backward_warp, backward_warp_nearest, forward_backward_valid, photometric_valid
from weclick.media import read_ids, read_image
from weclick.metrics import ConfusionMatrix
from weclick.progress import progress_bar

HERE = Path(__file__).resolve().parent
CAMVID = HERE.parents[1] / "shared" / "data" / "camvid"
DEFAULT_ESTIMATORS = ("zero", "dis:preset=fast", "dis:preset=medium", "dis:preset=medium,finest_scale=0")
MASKS = ("none", "forward_backward", "photometric", "both")

Estimate = Callable[[Tensor, Tensor], Tensor]
Video = list[tuple[Tensor, Tensor]]
"""Frames (1, 3, H, W) uint8 RGB and labels (1, 1, H, W) uint8, in order of time."""


@dataclass
class Tally:
    """Sums over the pairs of one mask."""

    matrix: ConfusionMatrix
    pixels: int = 0
    valid: int = 0
    error: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """The table's figures: shares 0..1, mean absolute RGB error in grey levels, time of a flow."""
        return {
            "miou": round(self.matrix.miou(), 4),
            "coverage": round(self.valid / self.pixels, 4),
            "photometric_error_grey_levels": round(self.error / max(self.valid, 1), 3),
            "ms_per_pair": round(1e3 * sorted(self.seconds)[len(self.seconds) // 2], 2),
            "pairs": len(self.seconds),
        }


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    video = read_video(options.frames, options.labels)
    rows = []
    total = sum(max(len(video) - gap, 0) for gap in options.gap) * len(options.estimator)
    with progress_bar("label warp", total, "pairs") as bar:
        for spec in options.estimator:
            name, estimate = parse_estimator(spec, options.device)
            for gap in options.gap:
                measured = measure(video, gap, estimate, options, bar.advance)
                rows += [
                    {"estimator": name, "gap_frames": gap, "mask": mask, **tally.row()}
                    for mask, tally in measured.items()
                    if tally.seconds
                ]
    show(rows)
    result = {"machine": machine(options), "versions": versions(), "table": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--frames", type=Path, default=CAMVID / "val", help="folder of frames, names in order of time")
    add("--labels", type=Path, default=CAMVID / "valannot", help="folder of label images, the same stems")
    add("--classes", type=int, default=11, help="K; label values 0..K-1 are scored (default 11)")
    add("--ignore", type=int, default=11, help="label value that is not scored (default 11)")
    add("--gap", type=int, nargs="+", default=[1, 2, 4, 7], help="gaps, in listed frames (default 1 2 4 7)")
    add("--estimator", action="append", help="zero, or name:option=value,... (may be repeated)")
    add("--device", default="cpu", help="where networks compute (default cpu)")
    add("--threads", type=int, default=1, help="CPU threads (default 1)")
    add("--output", type=Path, help="JSON to write (default benchmarks/results/label_warp_<folder>_<frames>)")
    options = parser.parse_args()
    options.estimator = options.estimator or list(DEFAULT_ESTIMATORS)
    folder = options.frames.resolve()
    name = f"label_warp_{folder.parent.name}_{folder.name}.json"
    options.output = options.output or HERE / "results" / name
    return options


def parse_estimator(spec: str, device: str) -> tuple[str, Estimate]:
    """'dis:preset=fast' -> its name in the table, without paths, and its `estimate`."""
    name, _, text = spec.partition(":")
    if name == "zero":
        return "zero flow", lambda target, _: torch.zeros_like(target[:, :2], dtype=torch.float32)
    given = dict(part.split("=", 1) for part in text.split(",") if part)
    estimator = build_estimator(name, device=device, **{k: yaml.safe_load(v) for k, v in given.items()})
    shown = [f"{key}={value}" for key, value in given.items() if key != "weights"]
    return " ".join([name, *shown]), estimator.estimate


def read_video(frames: Path, labels: Path) -> Video:
    stems = sorted(path.stem for path in labels.glob("*.png")) if labels.is_dir() else []
    images = {path.stem: path for path in frames.glob("*")} if frames.is_dir() else {}
    if not stems or not set(stems) <= set(images):
        raise SystemExit(
            f"{labels}: {len(stems)} labels, {len(set(stems) - set(images))} of them without a frame of that "
            f"name in {frames}; give folders with --frames and --labels"
        )
    return [
        (
            torch.from_numpy(read_image(images[stem]).copy()).permute(2, 0, 1)[None],
            torch.from_numpy(read_ids(labels / f"{stem}.png").copy())[None, None],
        )
        for stem in stems
    ]


def measure(
    video: Video, gap: int, estimate: Estimate, options: argparse.Namespace, advance: Callable[[], None]
) -> dict[str, Tally]:
    """All pairs of one gap, tallied under every mask."""
    tallies = {mask: Tally(ConfusionMatrix(options.classes, ignore=options.ignore)) for mask in MASKS}
    for (neighbour, label), (target, truth) in zip(video, video[gap:], strict=False):
        began = time.perf_counter()
        flow = estimate(target, neighbour).cpu()
        seconds = time.perf_counter() - began
        warped_label, _ = backward_warp_nearest(label, flow)
        warped, _ = backward_warp(neighbour.float(), flow)
        error = (warped - target).abs().mean(1, keepdim=True)
        consistent = forward_backward_valid(flow, estimate(neighbour, target).cpu())
        alike = photometric_valid(target, neighbour, flow)
        judged = {
            "none": torch.ones_like(consistent),
            "forward_backward": consistent,
            "photometric": alike,
            "both": consistent & alike,
        }
        for mask, valid in judged.items():
            tally = tallies[mask]
            tally.matrix.update(warped_label[valid], truth[valid])
            tally.pixels += valid.numel()
            tally.valid += int(valid.sum())
            tally.error += float(error[valid].sum())
            tally.seconds.append(seconds)
        advance()
    return tallies


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=120).print(table)


def machine(options: argparse.Namespace) -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads_used": options.threads,
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
    }


def versions() -> dict[str, str]:
    packages = ("numpy", "opencv-python-headless", "torch", "torchvision", "weclick")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


if __name__ == "__main__":
    main()
