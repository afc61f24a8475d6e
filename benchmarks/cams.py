"""What does a frame's class activation map cost, in processor time and in the store?

The script makes maps of a real clip at 240x432 px with EfficientNet-Lite0, on one thread: at two scales and
at the default four, each with mirror images, and once without. It tells the processor time of a frame
(median, after a first one that only warms up), and what the entry of the clip takes for a frame and class.

    python benchmarks/cams.py

Weights and clip lie beside the checkout, as config/davis.yaml says. About a minute on a quiet core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cam_iou import MAPPING, WEIGHTS
from PIL import Image

from weclick.common.config import complete_config
from weclick.common.machine import machine, versions
from weclick.geometry import grid_size
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.cam_frames import STRIDE_PX, maps_of, scores_of
from weclick.proxy_labels.cam_sources import Mapper
from weclick.proxy_labels.cams import compute_cams
from weclick.runs.cam_source import cam_source
from weclick.store import Store, file_digest

HERE = Path(__file__).resolve().parent
CLIP = HERE.parent.parent / "shared/data/davis/frames/car-roundabout"
SIZE = (240, 432)
NAMES = ("background", *MAPPING)
CASES: dict[str, dict[str, Any]] = {
    "two scales, flips": {"scales": [0.75, 1.25]},
    "four scales, flips": {},
    "one scale, no flip": {"scales": [1.0], "flip": False},
}


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    base = complete_config({"cams": {"source": "imagenet", "pretrained": str(WEIGHTS), "mapping": MAPPING}})
    with tempfile.TemporaryDirectory(prefix="cams-") as scratch:
        manifest = clip_of(options.frames, Path(scratch))
        source = cam_source(base, NAMES, None)
        mapper = source.load(manifest, "cpu")
        found = {}
        for case, changes in CASES.items():
            found[case] = cost(mapper, manifest, {**base["cams"], **changes})
            print(case, json.dumps(found[case]), flush=True)
        store = Store([Path(scratch) / "store"])
        section = {**base["cams"], **CASES["two scales, flips"], "min_score": 0}  # all classes have maps
        tags = TagTable(NAMES, True, {("clip", ""): frozenset({1})})
        (key,) = compute_cams(manifest, source, tags, options=section, store=store).values()
        stored = size_of(store.get("cams", key).meta, options.frames)
    report = {
        "machine": machine() | {"load_before": round(os.getloadavg()[0], 2)},
        "versions": versions("torch", "numpy", "zarr"),
        "options": {"frames": options.frames, "size_px": SIZE, "grid": grid_size(SIZE, STRIDE_PX)},
        "cpu_seconds_a_frame": found,
        "store": stored,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(stored), f"\nwritten to {options.output}")


def clip_of(count: int, folder: Path) -> Manifest:
    """A manifest of one real clip, at SIZE."""
    frames = []
    for path in sorted(CLIP.glob("*.jpg"))[:count]:
        image = folder / f"{path.stem}.png"
        Image.open(path).convert("RGB").resize(SIZE[::-1], Image.Resampling.BILINEAR).save(image)
        frames.append(Frame(path.stem, int(path.stem), image.name, file_digest(image)))
    clip = Clip("clip", tuple(frames), height_px=SIZE[0], width_px=SIZE[1])
    palette = tuple((0, 0, 0) for _ in NAMES)
    return Manifest("davis", str(folder), "train", 0, 1, Classes(NAMES, palette), (clip,))


def cost(mapper: Mapper, manifest: Manifest, section: Any) -> dict[str, float]:
    """Processor seconds of a frame: of its maps, of its scores, and of both."""
    images = [np.asarray(Image.open(manifest.path(f.image))) for f in manifest.clips[0].frames]
    merging = {name: section[name] for name in ("scales", "flip", "merge")}
    maps = timed(images, lambda image: list(maps_of(mapper, [image], [1, 2, 3], **merging)))
    scores = timed(images, lambda image: scores_of(mapper, [image], "cpu"))
    both = [one + other for one, other in zip(maps, scores, strict=True)]
    told = {"maps": maps, "scores": scores, "both": both}
    return {name: round(statistics.median(seconds), 3) for name, seconds in told.items()}


def timed(images: Sequence[np.ndarray], run: Any) -> list[float]:
    seconds = []
    for image in images:
        began = time.process_time()
        run(image)
        seconds.append(time.process_time() - began)
    return seconds[1:]


def size_of(meta: Any, frames: int) -> dict[str, float]:
    """Bytes of an entry for each frame and class that has maps."""
    classes = len(meta["attributes"]["class_ids"])
    files = meta["files"]
    maps = sum(file["bytes"] for name, file in files.items() if name.startswith("maps/c/"))
    return {
        "classes": classes,
        "map_bytes": round(maps / frames / classes),
        "entry_bytes": round(meta["entry_bytes"] / frames / classes),
        "largest_map_bytes": max(f["bytes"] for name, f in files.items() if name.startswith("maps/c/")),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=7, help="of the clip (default 7)")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "cams.json", help="JSON to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
