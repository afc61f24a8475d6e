"""Where should the camera's part leave a stack of flows: at each pixel of the crop, or on the stored grid?

A training interpolates the stored flows to the pixels of its crop, and takes the camera's flow away there
(`pixels`). It could take it away at the stored cells first, and interpolate once (`cells`). Both ways run in
turn on stacks of ten real flows. The table tells their CPU time, and how far their results lie apart, in px
of the crop: inside of the outermost cells' centres, and at the border, where a flow is that of the nearest
cell, but the camera's part was that of the pixel itself.

    python benchmarks/stack_camera.py --data ../shared/data/davis

The data are frames/<clip>/*.jpg. `stored_step_px` is the step in which flow is stored, on the crop.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from f2f_union import HERE, SHARED
from reads import show
from torch import Tensor

from weclick.common.machine import machine, versions
from weclick.flow import build_estimator
from weclick.flow.batch_estimator import BatchEstimator
from weclick.flow.pairs import PairImages
from weclick.geometry import Crop, camera_flow, dominant_homography, grid_size, sample_flow_crop
from weclick.geometry.crop import crop_sampling_positions
from weclick.manifest.images import read_image, shrink_image
from weclick.store.codecs import FLOW_SCALE, encode_flow

STRIDE_PX = 4
LENGTH = 10
SHRINK = 2
CROPS = {
    "whole frame": Crop(0.0, 0.0, 0.6, False, (144, 256)),
    "cut, larger, mirrored": Crop(31.0, 118.0, 1.25, True, (144, 256)),
}
"""That of config/two_stream_davis.yaml, and one that random crops may draw."""


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    stacks = [stack for clip in clips_in(options.data) for stack in stacks_of(clip, options.stacks)]
    rows = [measured(name, crop, stacks, options.repeats) for name, crop in CROPS.items()]
    report = {
        "machine": machine() | {"load_before": round(load, 2), "threads": options.threads},
        "versions": versions("torch", "numpy", "opencv-python-headless"),
        "stacks": len(stacks),
        "flows": LENGTH,
        "stride_px": STRIDE_PX,
        "table": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(rows, "the camera's part of a stack")
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=SHARED / "data" / "davis", help="folder with frames/")
    add("--stacks", type=int, default=3, help="of each clip, spread over it (default 3)")
    add("--repeats", type=int, default=15, help="of each way on each stack (default 15)")
    add("--threads", type=int, default=1, help="CPU threads (default 1)")
    add("--output", type=Path, default=HERE / "results" / "stack_camera.json", help="JSON to write")
    return parser.parse_args()


def clips_in(data: Path) -> list[Path]:
    return sorted(path for path in (data / "frames").iterdir() if path.is_dir())


class Stack:
    """Stored flows (2 L, h, w) int16 of an image, and the camera of each (L, 3, 3)."""

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        estimate = BatchEstimator(build_estimator("dis"), stride_px=STRIDE_PX, masks=())
        pairs = [PairImages(0, first, second) for first, second in pairwise(images)]
        flows = [flow[0].numpy() for flow, _ in (found for pair in pairs for found in estimate([pair]))]
        self.image_size = images[0].shape[:2]
        self.stored = torch.from_numpy(np.concatenate([encode_flow(flow)[0] for flow in flows]))
        self.cameras = np.stack([dominant_homography(flow, STRIDE_PX) for flow in flows])

    def at_pixels(self, crop: Crop) -> Tensor:
        """(L, 2, H, W) px of the crop, as a training has it."""
        return self._resampled(self.stored / FLOW_SCALE, crop).sub_(camera_flow(self.cameras, crop))

    def at_cells(self, crop: Crop) -> Tensor:
        """The same, the other way round."""
        # the crop whose pixels are the cells of the whole frame
        cells = Crop(0.0, 0.0, 1 / STRIDE_PX, False, grid_size(self.image_size, STRIDE_PX))
        moved = camera_flow(self.cameras, cells)
        return self._resampled((self.stored / FLOW_SCALE).sub_(moved.flatten(0, 1)), crop)

    def _resampled(self, flows: Tensor, crop: Crop) -> Tensor:
        found, _ = sample_flow_crop(
            flows[None], [crop], image_size=self.image_size, stride=1, source_stride=STRIDE_PX
        )
        return found.view(-1, 2, *crop.size)


def stacks_of(clip: Path, count: int) -> Iterator[Stack]:
    """Stacks that begin at frames spread over a clip."""
    files = sorted(clip.glob("*.jpg"))
    for start in np.linspace(0, len(files) - LENGTH - 1, count).astype(int):
        yield Stack([shrink_image(read_image(file), SHRINK) for file in files[start : start + LENGTH + 1]])


def measured(name: str, crop: Crop, stacks: Sequence[Stack], repeats: int) -> dict[str, Any]:
    """Medians over all runs, CPU ms a stack, and differences over all stacks, px of the crop."""
    times: dict[str, list[float]] = {"pixels": [], "cells": []}
    inner, border = [], []
    for stack in stacks:
        for _ in range(repeats):
            for way, run in (("pixels", stack.at_pixels), ("cells", stack.at_cells)):
                began = time.process_time()
                run(crop)
                times[way].append(time.process_time() - began)
        apart = (stack.at_pixels(crop) - stack.at_cells(crop)).abs().amax((0, 1))
        between = between_centres(crop, stack.image_size)
        inner.append(float(apart[between].max()))
        border.append(float(apart[~between].max()) if not between.all() else 0.0)
    return {
        "crop": name,
        **{f"{way}_cpu_ms": round(1000 * statistics.median(found), 2) for way, found in times.items()},
        "apart_inner_px": round(max(inner), 6),
        "apart_border_px": round(max(border), 6),
        "border_median_px": round(statistics.median(border), 6),
        "stored_step_px": round(STRIDE_PX * crop.scale / FLOW_SCALE, 6),
    }


def between_centres(crop: Crop, image_size: Sequence[int]) -> Tensor:
    """(H, W) bool: pixels of the crop that lie between the centres of the outermost cells."""
    middle = (STRIDE_PX - 1) / 2
    sides = []
    for positions, side in zip(crop_sampling_positions(crop), grid_size(image_size, STRIDE_PX), strict=True):
        sides.append((positions >= middle) & (positions <= middle + STRIDE_PX * (side - 1)))
    return torch.from_numpy(sides[0][:, None] & sides[1])


if __name__ == "__main__":
    main()
