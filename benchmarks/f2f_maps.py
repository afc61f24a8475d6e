"""What is it worth to gather real class activation maps along the flow, at a fixed and at the best threshold?

ImageNet's EfficientNet-Lite0 maps frames of 480x854 px at one scale, with their mirror images. The maps of
K frames are gathered at the last one, along DIS flow between neighbours or between every fourth frame: the
union of what exceeds a threshold, and the mean. The table compares them with the true masks: IoU, precision
and recall, mean over the frames of a clip, then over clips. All K are measured on the same frames.

    python benchmarks/f2f_maps.py --data ../shared/data/davis

The data are frames/<clip>/*.jpg and labels/<clip>/*.png with the classes of config/davis_classes.yaml. The
result says what the union of five frames gains at the threshold 0.5, and what union and mean gain where each
K has its own best threshold.
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
from cam_iou import MAPPING, WEIGHTS
from f2f_union import HERE, SHARED
from reads import show
from torch import Tensor

from weclick.common.machine import machine, versions
from weclick.evaluate.proxies import FRAMES, Example, gathering_table
from weclick.flow import build_estimator
from weclick.manifest.images import read_ids, read_image
from weclick.models.imagenet_classifier import imagenet_classifier
from weclick.proxy_labels.cam_frames import STRIDE_PX, maps_of
from weclick.proxy_labels.cam_imagenet import ByImageNet
from weclick.proxy_labels.gathering import relative
from weclick.proxy_labels.grids import flow_to_grid

CLASS_IDS = {"car": 1, "dog": 2, "swan": 3}
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(3, 15))
FIXED = 0.5
AGGREGATES = ("union", "mean")
FIRST = 16
"""The first frame that is measured. Five frames at a gap of four end there, and so do eight neighbours."""

Row = dict[str, Any]


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    began = time.perf_counter()
    clips = sorted(path for path in (options.data / "frames").iterdir() if path.is_dir())
    by_gap: dict[int, dict[str, list[Row]]] = {gap: {} for gap in options.gaps}
    for clip in clips:
        for gap, rows in tables_of(clip, options):
            by_gap[gap][clip.name] = rows
        print(clip.name, round(time.perf_counter() - began), "s", flush=True)
    found = {f"gap {gap}": summary(tables) for gap, tables in by_gap.items()}
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("torch", "torchvision", "numpy", "opencv-python-headless"),
        "options": {name: getattr(options, name) for name in ("gaps", "every", "frames")}
        | {"clips": len(clips)},
        **found,
        "seconds": round(time.perf_counter() - began, 1),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for gap, each in found.items():
        show(each["by_frames"], gap)
        print(json.dumps(each["gains_points"]))
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=SHARED / "data" / "davis", help="folder with frames/ and labels/")
    add("--weights", type=Path, default=WEIGHTS, help="of EfficientNet-Lite0, with its 1000 classes")
    add("--gaps", type=int, nargs="+", default=[1, 4], help="frames from one to the next (default 1 4)")
    add("--every", type=int, default=2, help="every n-th frame is measured (default 2)")
    add("--frames", type=int, default=40, help="the first so many of each clip (default 40)")
    add("--threads", type=int, default=1, help="CPU threads (default 1)")
    add("--output", type=Path, default=HERE / "results" / "f2f_maps.json", help="JSON to write")
    return parser.parse_args()


def tables_of(clip: Path, options: argparse.Namespace) -> Iterator[tuple[int, list[Row]]]:
    """The rows of one clip for each gap, all on the same frames."""
    labels = [read_ids(path) for path in files_of(options.data / "labels" / clip.name, options.frames)]
    images = [read_image(path) for path in files_of(clip, options.frames)]
    (class_id,) = {*np.unique(labels).tolist()} - {0}
    maps = maps_of_clip(images, class_id, options.weights)
    for gap in options.gaps:
        lengths = [frames for frames in FRAMES if (frames - 1) * gap <= FIRST]
        steps = range(max(lengths) - 1, -1, -1)
        flows = Flows(images, gap)
        examples = (
            Example(
                [maps[last - back * gap] for back in steps],
                [flows.to_previous(last - back * gap) for back in steps[1:]],
                labels[last],
                [class_id],
                STRIDE_PX,
            )
            for last in range(FIRST, len(images), options.every)
            if (labels[last] == class_id).any()
        )
        yield (
            gap,
            gathering_table([examples], frames=lengths, thresholds=THRESHOLDS, aggregates=AGGREGATES),
        )


def files_of(folder: Path, at_most: int) -> list[Path]:
    """The files of the first frames."""
    return sorted(each for each in folder.iterdir() if each.suffix in (".jpg", ".png"))[:at_most]


def maps_of_clip(images: Sequence[np.ndarray], class_id: int, weights: Path) -> list[Tensor]:
    """(1, h, w) of each frame, over its own maximum."""
    name = next(name for name, known in CLASS_IDS.items() if known == class_id)
    model = imagenet_classifier("efficientnet_lite0", str(weights))
    mapper = ByImageNet(model, {class_id: tuple(MAPPING[name])}, "maximum", class_id + 1)
    found = maps_of(mapper, images, [class_id], scales=[1], flip=True, merge="sum")
    return [relative(each) for each in found]


class Flows:
    """DIS flow of a frame to the one `gap` frames before, on the grid of the maps. Each is estimated once."""

    def __init__(self, images: Sequence[np.ndarray], gap: int) -> None:
        self._estimator, self._gap = build_estimator("dis"), gap
        self._images = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None] for image in images]
        self._known: dict[int, Tensor] = {}

    def to_previous(self, t: int) -> Tensor:
        """(2, h, w) px of the grid."""
        if t not in self._known:
            now, before = self._images[t], self._images[t - self._gap]
            flow = self._estimator.estimate(now, before)
            self._known[t] = flow_to_grid(flow, now.shape[-2:], 1, STRIDE_PX)[0]
        return self._known[t]


def summary(tables: dict[str, list[Row]]) -> dict[str, Any]:
    """Means over clips: of all thresholds, at the fixed one, and at the best one of each K; per cent."""
    first, *_ = tables.values()
    kinds = [(row["aggregate"], row["frames"], row["warped"], row["threshold"]) for row in first]
    known = {kind: means([rows[i] for rows in tables.values()]) for i, kind in enumerate(kinds)}
    lengths = sorted({kind[1] for kind in kinds})
    by_frames = []
    for aggregate in AGGREGATES:
        for frames in lengths:
            for warped in (True, False) if frames > 1 else (True,):
                own = {at: known[aggregate, frames, warped, at] for at in THRESHOLDS}
                best = max(own, key=lambda at: own[at][0])
                by_frames.append(
                    {
                        "gathered": aggregate,
                        "frames": frames,
                        "warped": warped,
                        f"at {FIXED}": spelled(own[FIXED]),
                        "best_at": best,
                        "at best": spelled(own[best]),
                    }
                )
    return {
        "gains_points": gains(known),
        "by_frames": by_frames,
        "thresholds_iou_precision_recall": {
            f"{aggregate} of {frames}": {
                f"{at:g}": spelled(known[aggregate, frames, True, at]) for at in THRESHOLDS
            }
            for aggregate in AGGREGATES
            for frames in lengths
        },
        "clips_union_at_0.5": {name: of_clip(rows) for name, rows in tables.items()},
    }


def means(rows: Sequence[Row]) -> tuple[float, float, float]:
    """IoU, precision and recall in per cent, over what is known."""
    scores = [[row[name] for row in rows] for name in ("iou", "precision", "recall")]
    return tuple(100 * float(np.nanmean(np.array(each, np.float64))) for each in scores)  # type: ignore[return-value]


def gains(known: dict[tuple[str, int, bool, float], tuple[float, float, float]]) -> dict[str, float]:
    """Five frames less one, along the flow: at the fixed threshold, and of IoU where each has its best."""

    def best(aggregate: str, frames: int) -> float:
        return max(known[aggregate, frames, True, at][0] for at in THRESHOLDS)

    one, five = (known["union", frames, True, FIXED] for frames in (1, 5))
    return {
        f"union_recall_at_{FIXED}": round(five[2] - one[2], 1),
        f"union_iou_at_{FIXED}": round(five[0] - one[0], 1),
        **{
            f"{aggregate}_iou_at_best": round(best(aggregate, 5) - best(aggregate, 1), 1)
            for aggregate in AGGREGATES
        },
    }


def of_clip(rows: Sequence[Row]) -> dict[str, str]:
    """The union of each K at the fixed threshold."""
    return {
        str(row["frames"]): spelled(means([row]))
        for row in rows
        if (row["aggregate"], row["warped"], row["threshold"]) == ("union", True, FIXED)
    }


def spelled(scores: Sequence[float]) -> str:
    """IoU/precision/recall."""
    return "/".join(f"{score:.1f}" for score in scores)


if __name__ == "__main__":
    main()
