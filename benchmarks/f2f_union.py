"""What is it worth to join masks along the flow? F2F's claim in small, without a classifier.

Every frame of every clip gets a part of its true mask: 35 % of the object's pixels, those nearest to one of
them that is drawn. The parts of K frames are joined at the last one, along DIS flow between neighbouring
frames (or every n-th, `--gap n`), and as if nothing moved. The table compares them with the true mask:
IoU, precision and recall, mean over the frames of a clip, then over clips. All K are measured on the same
frames.

    python benchmarks/f2f_union.py --data ../shared/data/davis

The data are frames/<clip>/*.jpg and labels/<clip>/*.png, a mask for every frame; all that is not 0 is the
object. The result shows how much K = 5 gains over K = 1 and over the unwarped union, and at which K the union
is best: beyond it, errors of the flow add up to more than further parts are worth.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from reads import show

from weclick.common.machine import machine, versions
from weclick.evaluate.proxies import FRAMES, Example, gathering_table
from weclick.flow import build_estimator
from weclick.manifest.images import read_ids, read_image, shrink_array, shrink_image

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
OBJECT = 1
OPTIONS = ("seed", "share", "shrink", "frames", "gap", "every")


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    began = time.perf_counter()
    clips = sorted(path for path in (options.data / "frames").iterdir() if path.is_dir())
    tables = {clip.name: table_of(clip, number, options) for number, clip in enumerate(clips)}
    rows = mean_of(list(tables.values()))
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("torch", "numpy", "opencv-python-headless"),
        "options": {name: getattr(options, name) for name in OPTIONS},
        "clips": {name: {"iou": by_row(table, "iou")} for name, table in tables.items()},
        "table": rows,
        "gains_iou_points": gains(rows),
        "best_frames": max((row for row in rows if row["warped"]), key=lambda row: row["iou"])["frames"],
        "seconds": round(time.perf_counter() - began, 1),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    show(rows, "joined parts of true masks")
    print(json.dumps(report["gains_iou_points"]), "best K:", report["best_frames"])
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=SHARED / "data" / "davis", help="folder with frames/ and labels/")
    lengths = [*FRAMES, 12, 16]
    add("--frames", type=int, nargs="+", default=lengths, help="lengths K (default 1 2 3 5 8 12 16)")
    add("--share", type=float, default=0.35, help="of the object that each frame shows (default 0.35)")
    add("--shrink", type=int, default=2, help="divides the size of the frames (default 2)")
    add("--gap", type=int, default=1, help="frames of the video from one of the K to the next (default 1)")
    add("--every", type=int, default=2, help="every n-th frame is measured (default 2)")
    add("--seed", type=int, default=0, help="of the parts (default 0)")
    add("--threads", type=int, default=1, help="CPU threads (default 1)")
    add("--output", type=Path, default=HERE / "results" / "f2f_union.json", help="JSON to write")
    return parser.parse_args()


def table_of(clip: Path, number: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one clip."""
    labels = sorted((options.data / "labels" / clip.name).glob("*.png"))
    frames = sorted(clip.glob("*.jpg"))
    truths = [shrink_array(read_ids(path), options.shrink, Image.Resampling.NEAREST) > 0 for path in labels]
    images = [shrink_image(read_image(path), options.shrink) for path in frames]
    rng = np.random.default_rng((options.seed, number))
    parts = [torch.from_numpy(part_of(truth, options.share, rng))[None].float() for truth in truths]
    found = examples(truths, parts, flows_between(images, options.gap), options)
    return gathering_table([found], frames=options.frames, thresholds=(0.5,), aggregates=("union",))


def part_of(truth: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A blob of an object: the share of its pixels that are nearest to a random one of them."""
    pixels = np.argwhere(truth)
    part = np.zeros_like(truth)
    if len(pixels):
        distance = np.square(pixels - pixels[rng.integers(len(pixels))]).sum(1)
        nearest = pixels[np.argsort(distance, kind="stable")[: round(share * len(pixels))]]
        part[tuple(nearest.T)] = True
    return part


def flows_between(images: Sequence[np.ndarray], gap: int) -> list[torch.Tensor]:
    """(2, H, W) px of every frame after the first `gap`, to the one `gap` before it."""
    estimator = build_estimator("dis")
    tensors = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None] for image in images]
    pairs = zip(tensors, tensors[gap:], strict=False)
    return [estimator.estimate(now, before)[0] for before, now in pairs]


def examples(
    truths: Sequence[np.ndarray],
    parts: Sequence[torch.Tensor],
    flows: Sequence[torch.Tensor],
    options: argparse.Namespace,
) -> Iterator[Example]:
    """Every frame that ends the longest run, and shows the object."""
    reach = (max(options.frames) - 1) * options.gap
    for last in range(reach, len(truths), options.every):
        if truths[last].any():
            of_parts = slice(last - reach, last + 1, options.gap)
            of_flows = slice(last - reach, last, options.gap)
            truth = np.where(truths[last], OBJECT, 0).astype(np.uint8)
            yield Example(parts[of_parts], flows[of_flows], truth, [OBJECT], 1)


def mean_of(tables: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Mean over clips, in per cent."""
    rows = []
    for same in zip(*tables, strict=True):
        scores = {
            name: round(100 * float(np.mean([row[name] for row in same])), 1)
            for name in ("iou", "precision", "recall")
        }
        rows.append({"frames": same[0]["frames"], "warped": same[0]["warped"], **scores, "clips": len(same)})
    return rows


def by_row(table: Sequence[dict[str, Any]], score: str) -> dict[str, float]:
    """Per cent of each length, warped or not."""
    return {
        f"{row['frames']}{'' if row['warped'] else ' unwarped'}": round(100 * row[score], 1) for row in table
    }


def gains(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """IoU of K = 5 less that of K = 1, of the unwarped union, and of K = 8, as far as these were measured."""
    iou = {(row["frames"], row["warped"]): row["iou"] for row in rows}
    beside = {"over_1": (1, True), "over_unwarped": (5, False), "over_8": (8, True)}
    known = {name: other for name, other in beside.items() if {other, (5, True)} <= iou.keys()}
    return {f"5_{name}": round(iou[5, True] - iou[other], 1) for name, other in known.items()}


if __name__ == "__main__":
    main()
