"""Do predictions that agree between two frames complete labels? MaskConsist without a network.

Frames are those of the drawn street, two of a clip at a time, with DIS flow between them. Labels are damaged
truth: half of the objects of each frame are missing, and of a third of the rest only a half is labelled.
Predictions are simulated: each object is found with a certain probability, by a mask that is shifted by up to
a pixel. Three in ten objects are seen in two parts, besides or instead. Three boxes a frame are wrong. Labels
before and after the transfer are compared with the truth: recall and precision at IoU .5. Rows leave out one
step each: unions of parts (intra), matching between frames (inter: without it, every prediction that has a
label is carried over), and IoM-NMS. Several draws of labels and predictions give a mean and a range.

    python benchmarks/maskconsist_transfer.py

The last table tells how long the labels of a pair of frames take, with 100 predictions a frame, on the grid
of stride 4 of a 480p frame and at its full size.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from reads import show

from weclick.common.machine import machine, versions
from weclick.datasets.toy import draw as toy
from weclick.flow import build_estimator
from weclick.proxy_labels import maskconsist_labels, match
from weclick.proxy_labels.instance_arrays import Instances
from weclick.proxy_labels.maskconsist import belonging, consistent, expanded, transferred, warped
from weclick.proxy_labels.matching import outermost
from weclick.proxy_labels.overlaps import mask_iou

HERE = Path(__file__).resolve().parent
VARIANTS = ("labels alone", "all", "no intra", "no inter", "no IoM")
PART_OF_LABELS, PARTS_OF_PREDICTIONS = 1 / 3, 0.3
FALSE_BOXES = 3
HALF, OVERLAPPING = 0.5, 0.65
"""Shares of an object's longer side that a part shows: two do not overlap, or do."""

PARTS_ARE = ("besides", "instead")
"""Whether parts stand beside the whole objects that are found, or some of those are found in parts only."""


@dataclass(frozen=True)
class Pair:
    """Two frames: the true instances of each, and the flow from each to the other."""

    truths: tuple[Instances, Instances]
    flows: tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Network:
    """What is simulated: the share of objects it finds, how much a part shows, and what parts are."""

    found: float
    part: float
    instead: bool


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    began = time.perf_counter()
    pairs = [pair for clip in range(options.clips) for pair in pairs_of(clip, options)]
    rows = [
        row
        for parts_are in PARTS_ARE
        for part in (HALF, OVERLAPPING)
        for found in options.found
        for row in rows_of(pairs, Network(found, part, parts_are == "instead"), options)
    ]
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("torch", "numpy", "scipy", "opencv-python-headless"),
        "options": {name: value for name, value in vars(options).items() if name != "output"},
        "frames": 2 * len(pairs),
        "objects_a_frame": round(statistics.mean(len(t.masks) for pair in pairs for t in pair.truths), 2),
        "table": rows,
        "gains_points": gains(rows),
        "cost": [cost(size) for size in ((120, 214), (480, 854))],
        "seconds": round(time.perf_counter() - began, 1),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    show([{**row, "recall_range": str(row["recall_range"])} for row in rows], "labels after the transfer")
    show(report["gains_points"], "gains over the labels alone, in points")
    show(report["cost"], "labels of a pair of frames")
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--clips", type=int, default=14, help="clips of the street (default 14)")
    add("--frames", type=int, default=8, help="frames of a clip (default 8)")
    add("--height", type=int, default=128, help="rows in px; twice as many columns (default 128)")
    add("--apart", type=int, default=2, help="frames between the two of a pair (default 2)")
    add("--least-px", type=int, default=150, help="smaller objects are left out (default 150)")
    add("--missing", type=float, default=0.5, help="share of objects without a label (default 0.5)")
    add("--found", type=float, nargs="+", default=[0.3, 0.5, 0.7, 0.9], help="shares that are predicted")
    add("--seeds", type=int, default=3, help="draws of labels and predictions (default 3)")
    output = HERE / "results" / "maskconsist_transfer.json"
    add("--output", type=Path, default=output, help="JSON to write")
    return parser.parse_args()


def pairs_of(clip: int, options: argparse.Namespace) -> Iterator[Pair]:
    """Pairs of a clip's frames, each frame in one of them at most."""
    height, apart = options.height, options.apart
    drawn = toy.render_clip(
        seed=0, split="train", clip_index=clip, height=height, width=2 * height, frames=options.frames
    )
    estimator = build_estimator("dis")
    images = torch.from_numpy(drawn.images).permute(0, 3, 1, 2)
    for block in range(0, options.frames - 2 * apart + 1, 2 * apart):
        for t in range(block, block + apart):
            u = t + apart
            flows = [estimator.estimate(images[a : a + 1], images[b : b + 1])[0] for a, b in ((t, u), (u, t))]
            truths = [instances(drawn.instances[frame], options.least_px) for frame in (t, u)]
            yield Pair((truths[0], truths[1]), (flows[0], flows[1]))


def instances(numbers: np.ndarray, least_px: int) -> Instances:
    """The objects of a map of class id * 1000 + k."""
    ids, counts = np.unique(numbers[numbers > 0], return_counts=True)
    ids = ids[counts >= least_px]
    return Instances(torch.from_numpy(numbers == ids[:, None, None]), torch.from_numpy(ids // 1000).long())


def rows_of(pairs: Sequence[Pair], network: Network, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Scores of all variants on the same labels and predictions."""
    counts = {variant: np.zeros((options.seeds, 3)) for variant in VARIANTS}
    for seed in range(options.seeds):
        for number, pair in enumerate(pairs):
            rng = np.random.default_rng((seed, number))
            labels = [damaged(truth, options.missing, rng) for truth in pair.truths]
            predicted = [predictions(truth, network, rng) for truth in pair.truths]
            for variant in VARIANTS:
                final = labels_after(variant, predicted, labels, pair.flows)
                for truth, kept in zip(pair.truths, final, strict=True):
                    counts[variant][seed] += scored(truth, kept)
    for variant, count in counts.items():
        right, labelled, true = count.T
        recalls = 100 * right / true
        yield {
            "parts_are": PARTS_ARE[network.instead],
            "part": network.part,
            "found": network.found,
            "variant": variant,
            "recall": round(float(recalls.mean()), 1),
            "precision": round(float(100 * (right / labelled).mean()), 1),
            "recall_range": [round(float(recalls.min()), 1), round(float(recalls.max()), 1)],
            "labels_a_frame": round(float(labelled.mean() / (2 * len(pairs))), 2),
        }


def damaged(truth: Instances, missing: float, rng: np.random.Generator) -> Instances:
    """Labels as a weak method leaves them: objects are missing or cut in half."""
    kept = truth.of(torch.from_numpy(rng.random(len(truth.masks)) >= missing))
    masks = [
        parts(mask, HALF)[rng.integers(2)] if rng.random() < PART_OF_LABELS else mask for mask in kept.masks
    ]
    return Instances(torch.stack(masks) if masks else kept.masks, kept.classes)


def predictions(truth: Instances, network: Network, rng: np.random.Generator) -> Instances:
    """What a network might say: objects, parts of objects, and boxes where nothing is."""
    masks, classes = [], []
    for mask, class_id in zip(truth.masks, truth.classes, strict=True):
        found, split = rng.random() < network.found, rng.random() < PARTS_OF_PREDICTIONS
        seen = [mask] if found and not (split and network.instead) else []
        seen += parts(mask, network.part) if split and (found or not network.instead) else []
        masks += [shifted(each, rng.integers(-1, 2, 2)) for each in seen]
        classes += [class_id] * len(seen)
    height, width = truth.masks.shape[1:]
    for _ in range(FALSE_BOXES):
        box = torch.zeros(height, width, dtype=torch.bool)
        y, x = rng.integers(0, height * 3 // 4), rng.integers(0, width * 3 // 4)
        box[y : y + rng.integers(8, height // 3), x : x + rng.integers(8, width // 4)] = True
        masks.append(box)
        classes.append(torch.tensor(rng.choice([toy.CLASSES.index(name) for name in toy.INSTANCE_CLASSES])))
    return Instances(torch.stack(masks), torch.stack(classes).long())


def parts(mask: torch.Tensor, share: float) -> list[torch.Tensor]:
    """The first and the last share of a mask along the longer side of its box."""
    found = []
    axis = int(np.argmax([np.ptp(mask.nonzero()[:, side].numpy()) for side in (0, 1)]))
    line = mask.any(1 - axis).nonzero()[:, 0]
    first, length = int(line[0]), int(line[-1] - line[0]) + 1
    for start, end in ((0, round(share * length)), (length - round(share * length), length)):
        window = torch.zeros_like(mask)
        window.narrow(axis, first + start, end - start).fill_(True)
        found.append(mask & window)
    return found


def shifted(mask: torch.Tensor, by: np.ndarray) -> torch.Tensor:
    return torch.roll(mask, by.tolist(), (0, 1))


def labels_after(
    variant: str,
    predicted: Sequence[Instances],
    labels: Sequence[Instances],
    flows: Sequence[torch.Tensor],
) -> list[Instances]:
    """Labels of both frames after the transfer."""
    if variant == "labels alone":
        return [*labels]
    if variant == "all":
        given = [each for pair in zip(predicted, labels, strict=True) for each in pair]
        return [Instances(*found) for found in maskconsist_labels(*given, *flows)]
    shown = [*predicted] if variant == "no intra" else [*map(expanded, predicted, labels)]
    final = []
    for here, there in ((0, 1), (1, 0)):
        carried, worth = warped(shown[there], flows[here]), belonging(shown[there], labels[there])
        if variant == "no inter":
            new = carried.of(worth)
        else:
            new = transferred(carried, shown[here], consistent(carried, shown[here]), worth)
        joined = labels[here].and_also(new)
        if variant != "no IoM":
            joined = joined.of(outermost(joined.masks, joined.classes))
        final.append(joined)
    return final


def scored(truth: Instances, labels: Instances) -> tuple[int, int, int]:
    """Labels that are right, labels, and true objects."""
    iou = mask_iou(labels.masks, truth.masks)
    same = labels.classes[:, None] == truth.classes
    return len(match(iou.where(same & (iou >= 0.5), 0))), len(labels.masks), len(truth.masks)


def gains(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What all steps together add to the labels alone."""
    alone, every = ([row for row in rows if row["variant"] == name] for name in ("labels alone", "all"))
    return [
        {name: after[name] for name in ("parts_are", "part", "found")}
        | {name: round(after[name] - before[name], 1) for name in ("recall", "precision")}
        for before, after in zip(alone, every, strict=True)
    ]


def cost(size: tuple[int, int], runs: int = 5) -> dict[str, Any]:
    """CPU time of a pair with 100 predictions and 8 labels a frame, on one thread."""
    rng = np.random.default_rng(0)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        masks = np.zeros((count, *size), bool)
        for mask in masks:
            y, x = (int(rng.integers(0, side * 3 // 4)) for side in size)
            mask[y : y + size[0] // 4, x : x + size[1] // 5] = True
        return masks, rng.integers(1, 4, count)

    given, flow = [drawn(count) for count in (100, 8, 100, 8)], np.ones((2, *size), np.float32)
    times = []
    for _ in range(runs):
        began = time.process_time()
        maskconsist_labels(*given, flow, -flow)
        times.append(time.process_time() - began)
    return {
        "size": f"{size[0]} x {size[1]}",
        "cpu_s": round(min(times), 3),
        "cpu_s_median": round(statistics.median(times), 3),
    }


if __name__ == "__main__":
    main()
