"""Do class activation maps show objects better where motion amplifies them (f-CAM, Liu et al. 2021)?

The clips, maps and figures are those of `cam_iou.py` (ImageNet's EfficientNet-Lite0, maps summed over scales
and mirror images). Beside the maps stand f-CAMs with the paper's factors, 2 where the flow to the next frame
is among the fastest fifth of its frame and 5 where it is above the median, for the flow as it is (`raw`) and
without the camera's motion (`residual`). f-CAMs are divided by their factor, so that all lie in 0..1.

    python benchmarks/fcam.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cam_iou import HERE, at_thresholds, configuration, full, summary, tags_of_labels

from weclick.common.machine import machine, versions
from weclick.datasets import build_manifest, open_dataset
from weclick.flow import build_estimator
from weclick.flow.batch_estimator import BatchEstimator
from weclick.flow.pairs import PairImages
from weclick.manifest import Manifest
from weclick.manifest.read import read_clip, read_label
from weclick.proxy_labels import amplify
from weclick.proxy_labels.cams import compute_cams, read_maps
from weclick.runs.cam_source import cam_source
from weclick.store import Store

STRIDE_PX = 4
FACTORS: dict[str, tuple[float, float]] = {"A2 P80": (2.0, 80.0), "A5 P50": (5.0, 50.0)}
"""The paper's factor and percentile, for YouTube-VIS and for Cityscapes."""


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fcam-") as scratch:
        config = configuration(options, Path(scratch))
        whole = build_manifest(open_dataset(config["data"]), "train", 0, 1, reach_frames=1)
        targets = replace(whole, clips=tuple(clip.restrict(clip.targets) for clip in whole.clips))
        tags, store = tags_of_labels(targets), Store.from_config(**config["cache"])
        section = {**config["cams"], "source": "imagenet", "merge": "sum"}
        mapper = cam_source({"cams": section}, whole.classes.names, None)
        keys = compute_cams(targets, mapper, tags, options=section, store=store)
        counted: dict[str, dict[str, Any]] = {}
        for clip, own in zip(whole.clips, targets.clips, strict=True):
            (class_id,) = tags.of_clip(clip.id) - {0}
            entry = store.get("cams", keys[clip.id])
            for t, flow in flows(whole, clip):
                maps, ids = read_maps(entry, own.positions()[clip.frames[t].name])
                truth = read_label(whole, clip.frames[t]) == class_id
                for name, found in variants(maps[[ids.index(class_id)]], flow).items():
                    one = full_size(found, clip.size)
                    by_clip = counted.setdefault(name, {})
                    by_clip[clip.id] = by_clip.get(clip.id, 0) + at_thresholds(one, truth)
    found = {name: summary(by_clip) for name, by_clip in counted.items()}
    for name, figures in found.items():
        print(name, json.dumps(figures["best"]), json.dumps(figures["clips"]))
    report = {
        "machine": machine(),
        "versions": versions("torch", "numpy", "opencv-python-headless"),
        "options": {"scales": options.scales, "every": options.every, "stride_px": STRIDE_PX},
        "maps": found,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {options.output}")


def flows(manifest: Manifest, clip: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Each target whose next frame is there, and its flow to that, (2, h, w) px of the grid."""
    estimate = BatchEstimator(build_estimator("dis"), stride_px=STRIDE_PX, masks=())
    numbers = [frame.number for frame in clip.frames]
    for t in clip.targets:
        if numbers[t] + 1 in numbers:
            pair = clip.restrict([t, numbers.index(numbers[t] + 1)])
            first, second = read_clip(manifest, pair)
            ((flow, _),) = estimate([PairImages(0, first, second)])
            yield t, flow[0].numpy()


def variants(cam: np.ndarray, flow: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> map (h, w) in 0..1."""
    found = {"CAM": cam[0]}
    for motion in ("raw", "residual"):
        for name, (factor, percentile) in FACTORS.items():
            made = amplify(cam, flow, factor=factor, percentile=percentile, motion=motion)
            found[f"f-CAM {motion}, {name}"] = made[0] / factor
    return found


def full_size(one: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map at the size of its frame; unlike `full`, not over its own maximum again."""
    peak = float(one.max())
    return full((one[None], [0]), 0, size) * peak if peak else np.zeros(size, np.float32)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scales", nargs="+", type=float, default=[0.75, 1.25], help="of the frames (default 0.75 1.25)")
    add("--every", type=int, default=5, help="a frame in so many is looked at (default 5)")
    add("--output", type=Path, default=HERE / "results" / "fcam.json", help="JSON to write")
    options = parser.parse_args()
    options.steps = 1  # of the classifier, which is not trained here
    return options


if __name__ == "__main__":
    main()
