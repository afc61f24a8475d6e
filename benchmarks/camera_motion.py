"""Which search for the camera's motion leaves the motion of things: OpenCV's RANSAC or scikit-image's?

`flow.motion: residual` takes away the homography that most of a frame follows. On clips whose frames have
masks, what remains should be large on the object and small beside it: AUC says how often a cell of the object
moves more than one of the background. Beside both searches stand the raw flow and an affine motion found by
reweighted least squares, which `proxy_labels.background: motion` uses. Searches take turns on every frame.

    python benchmarks/camera_motion.py --root path/of/davis --classes config/davis_classes.yaml
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from skimage.measure import ransac
from skimage.transform import ProjectiveTransform

from weclick.common.config import complete_config
from weclick.common.machine import machine, versions
from weclick.datasets import build_manifest, open_dataset
from weclick.flow import build_estimator
from weclick.flow.batch_estimator import BatchEstimator
from weclick.flow.pairs import PairImages
from weclick.geometry import dominant_homography, grid_size
from weclick.geometry.camera import MOST_CELLS, WITHIN_CELLS
from weclick.manifest import IGNORE, Manifest
from weclick.manifest.read import read_clip, read_label
from weclick.proxy_labels.camera_motion import residual_motion

HERE = Path(__file__).resolve().parent
STRIDE_PX = 4


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(1)
    rows = measured(listed(options), options.every)
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("opencv-python-headless", "scikit-image", "numpy"),
        "options": {"shrink": options.shrink, "every": options.every, "stride_px": STRIDE_PX},
        "table": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=120).print(table)
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--root", type=Path, required=True, help="data set of the kind `folder` with a label for each frame")
    add("--classes", type=Path, required=True, help="its classes; class 0 is the background")
    add("--shrink", type=int, default=2, help="frames at 1/shrink of their size (default 2)")
    add("--every", type=int, default=5, help="every how many frames one is looked at (default 5)")
    output = HERE / "results" / "camera_motion.json"
    add("--output", type=Path, default=output, help="JSON to write")
    return parser.parse_args()


def listed(options: argparse.Namespace) -> Manifest:
    data: dict[str, Any] = {"name": "folder", "root": str(options.root), "classes": str(options.classes)}
    data |= {"shrink": options.shrink, "target_every": 1}
    config = complete_config({"data": {**data, "held_out": "other_frames"}})
    return build_manifest(open_dataset(config["data"]), "train", 0, 1, reach_frames=1, remember=None)


def measured(manifest: Manifest, every: int) -> list[dict[str, Any]]:
    """A row for each search: means over clips of the AUC, its worst clip, and the time of a flow."""
    aucs: dict[str, dict[str, list[float]]] = {name: {} for name in SEARCHES}
    times: dict[str, list[float]] = {name: [] for name in SEARCHES}
    for clip, flow, thing, size in flows(manifest, every):
        for name, search in SEARCHES.items():
            began = time.process_time()
            moved = search(flow, size)
            times[name].append(time.process_time() - began)
            aucs[name].setdefault(clip, []).append(auc(moved[thing], moved[~thing]))
    rows = []
    for name, by_clip in aucs.items():
        means = {clip: statistics.mean(values) for clip, values in by_clip.items()}
        rows.append(
            {
                "search": name,
                "auc": round(statistics.mean(means.values()), 4),
                "worst_clip": round(min(means.values()), 4),
                "cpu_ms": round(1e3 * statistics.median(times[name]), 2),
                "clips": len(means),
                "flows": len(times[name]),
            }
        )
    return rows


def flows(manifest: Manifest, every: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, tuple[int, int]]]:
    """Clip, flow to the next frame (2, h, w) px of the grid, cells of things (h, w) bool, and (H, W) px."""
    estimate = BatchEstimator(build_estimator("dis"), stride_px=STRIDE_PX, masks=())
    for clip in manifest.clips:
        images = list(read_clip(manifest, clip))
        for t in range(0, len(images) - 1, every):
            label = read_label(manifest, clip.frames[t])
            rows, columns = (
                np.minimum(np.arange(cells) * STRIDE_PX + STRIDE_PX // 2, side - 1)
                for cells, side in zip(grid_size(clip.size, STRIDE_PX), clip.size, strict=True)
            )
            thing = np.isin(label[rows][:, columns], [0, IGNORE], invert=True)
            if thing.any() and not thing.all():
                ((flow, _),) = estimate([PairImages(0, images[t], images[t + 1])])
                yield clip.id, flow[0].numpy(), thing, clip.size


def auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """How often a value of `inside` is above one of `outside`; ties count half."""
    both = np.concatenate([inside, outside])
    order = np.argsort(both, kind="stable")
    _, first, counts = np.unique(both[order], return_index=True, return_counts=True)
    ranks = np.empty(len(both))
    ranks[order] = np.repeat(first + (counts + 1) / 2, counts)
    return float((ranks[: len(inside)].mean() - (len(inside) + 1) / 2) / len(outside))


def raw(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.linalg.norm(flow, axis=0)


def by_opencv(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return without(flow, dominant_homography(flow, STRIDE_PX), STRIDE_PX)


def by_scikit_image(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: flow.shape[1], : flow.shape[2]].reshape(2, -1)
    at = np.stack([x, y], 1).astype(np.float64)
    moved = at + flow.reshape(2, -1).T
    step = max(1, -(-len(at) // MOST_CELLS))
    model, _ = ransac(
        (at[::step], moved[::step]),
        ProjectiveTransform,
        min_samples=4,
        residual_threshold=WITHIN_CELLS,
        max_trials=500,
        stop_probability=0.999,
        rng=0,
    )
    return without(flow, np.eye(3) if model is None else model.params, 1)


def by_affine(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return residual_motion(flow)


def without(flow: np.ndarray, homography: np.ndarray, stride_px: int) -> np.ndarray:
    """What is left of a flow, px of the grid, where the homography is of positions in px of `stride_px`."""
    y, x = np.mgrid[: flow.shape[1], : flow.shape[2]] * stride_px + (stride_px - 1) / 2
    to = homography @ np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
    camera = (to[:2] / to[2]).reshape(flow.shape) - np.stack([x, y])
    return np.linalg.norm(flow - camera / stride_px, axis=0)


SEARCHES: dict[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = {
    "none": raw,
    "homography, OpenCV": by_opencv,
    "homography, scikit-image": by_scikit_image,
    "affine, reweighted": by_affine,
}

if __name__ == "__main__":
    main()
