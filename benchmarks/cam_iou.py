"""How well do class activation maps show objects? IoU with true masks over thresholds, on real clips.

The clips are those of config/davis.yaml, whose one object has a mask on every frame. Two networks make maps,
both EfficientNet-Lite0: one tells ImageNet's 1000 classes, of which some stand for car, dog and swan; the
other has a head that learnt from the clips' tags alone, on a frozen backbone. The stages `frames`,
`classifier` and `cams` do the work. A cell is the object's if its map exceeds a threshold times the map's
maximum. IoU, precision and recall are those of all frames of a clip together; then come means over clips,
and the threshold that is the best for all clips.

    python benchmarks/cam_iou.py

Weights and clips lie beside the checkout, as config/davis.yaml says. About three minutes on a quiet core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from weclick.common.config import load_config
from weclick.common.machine import machine, versions
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.manifest import Manifest
from weclick.manifest.read import read_label
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.cams import compute_cams, read_maps
from weclick.runs.cam_source import cam_source
from weclick.runs.wanted import Wanted
from weclick.store import Store
from weclick.train.data.stream import Caches
from weclick.train.stage import train_recipe

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
WEIGHTS = CHECKOUT.parent / "shared/weights/tf_efficientnet_lite0_imagenet.safetensors"

MAPPING = {
    "car": [407, 436, 468, 511, 609, 627, 656, 661, 751, 817],
    "dog": list(range(151, 269)),
    "swan": [99, 100],
}
"""Class -> indices of ImageNet: ambulance to sports car; Chihuahua to Mexican hairless; goose, black swan."""

THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 20)]
MERGES = ("maximum", "sum")

Counts = dict[str, np.ndarray]
"""Clip -> (thresholds, 3): cells of the object that are found, all that are found, all of the object."""


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="cam-iou-") as scratch:
        folder = Path(scratch)
        config = configuration(options, folder)
        train, val = manifests(config)
        tags, store = tags_of_labels(train), Store.from_config(**config["cache"])
        found: dict[str, dict[str, Any]] = {}
        for source in options.sources:
            classifier = trained(config, train, val, tags, store, folder) if source == "tags" else None
            for merge in MERGES:
                section = {**config["cams"], "source": source, "merge": merge}
                mapper = cam_source({"cams": section}, train.classes.names, classifier)
                keys = compute_cams(train, mapper, tags, options=section, store=store)
                found.setdefault(source, {})[merge] = summary(counts(train, tags, keys, store))
                print(source, merge, json.dumps(found[source][merge]["best"]), flush=True)
    report = {
        "machine": machine(),
        "versions": versions("torch", "torchvision", "numpy"),
        "options": {
            "scales": options.scales,
            "frames": {clip.id: len(clip.frames) for clip in train.clips},
            "size_px": train.clips[0].size,
            "steps": config["classifier"]["steps"],
            "mapping": MAPPING,
        },
        "sources": found,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {options.output}")


def configuration(options: argparse.Namespace, folder: Path) -> Any:
    """The configuration of all stages, its store in a folder."""
    changes = {
        "method": "f2f",
        "cache.roots": [str(folder / "store")],
        "data.root": str(CHECKOUT.parent / "shared/data/davis"),
        "data.classes": str(CHECKOUT / "config/davis_classes.yaml"),
        "data.shrink": 2,
        "data.target_every": options.every,
        "cams.scales": options.scales,
        "cams.pretrained": str(WEIGHTS),
        "cams.mapping": MAPPING,
        "classifier.backbone": "efficientnet_lite0",
        "classifier.pretrained": str(WEIGHTS),
        "classifier.output_stride": 32,
        "classifier.steps": options.steps,
        "classifier.crop": [224, 224],
        "classifier.scale": [0.5, 1.0],
        "classifier.learning_rate": 1e-3,
        "classifier.validate_frames": 4,
        "classifier.log_every": 20,
    }
    words = [f"{name}={json.dumps(value)}" for name, value in changes.items()]
    return load_config(CHECKOUT / "config/davis.yaml", words)


def manifests(config: Any) -> tuple[Manifest, Manifest]:
    """Training split, its targets alone; and the split that is scored."""
    dataset = open_dataset(config["data"])
    train, val = (build_manifest(dataset, split, 0, 1, reach_frames=0) for split in ("train", "val"))
    return replace(train, clips=tuple(clip.restrict(clip.targets) for clip in train.clips)), val


def tags_of_labels(manifest: Manifest) -> TagTable:
    """Each clip's classes."""
    rows = {
        (clip.id, ""): frozenset(np.unique(read_label(manifest, clip.frames[0])).tolist())
        for clip in manifest.clips
    }
    return TagTable(manifest.classes.names, True, rows)


def trained(config: Any, train: Manifest, val: Manifest, tags: TagTable, store: Store, folder: Path) -> Path:
    """A classifier that learnt from tags. Returns its file."""
    keys = {"frames": pack_frames(train, store=store, **config["frames"])}
    caches = Caches.of(store, keys)
    recipe = Wanted(config).recipe("classifier", train=train, val=val, tags=tags, caches=caches)
    train_recipe(recipe, folder / "classifier", device="cpu")
    return folder / "classifier/model.safetensors"


def counts(manifest: Manifest, tags: TagTable, keys: Mapping[str, str], store: Store) -> Counts:
    """What the maps of each clip's class find of its object, at each threshold."""
    found = {}
    for clip in manifest.clips:
        (class_id,) = tags.of_clip(clip.id) - {0}
        entry = store.get("cams", keys[clip.id])
        pairs = (
            (full(read_maps(entry, t), class_id, clip.size), read_label(manifest, frame) == class_id)
            for t, frame in enumerate(clip.frames)
        )
        found[clip.id] = sum(at_thresholds(*pair) for pair in pairs)
    return found


def full(read: tuple[np.ndarray, list[int]], class_id: int, size: Sequence[int]) -> np.ndarray:
    """The map of a class at the size of its frame, over its own maximum."""
    maps, class_ids = read
    one = torch.from_numpy(maps[class_ids.index(class_id)])[None, None]
    one = interpolate(one, (size[0], size[1]), mode="bilinear", align_corners=False)[0, 0]
    return (one / one.max().clamp(min=1e-9)).numpy()


def at_thresholds(one: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(thresholds, 3), see `Counts`."""
    marked = [one > threshold for threshold in THRESHOLDS]
    return np.array([((each & truth).sum(), each.sum(), truth.sum()) for each in marked], np.int64)


def summary(counted: Counts) -> dict[str, Any]:
    """Means over clips at each threshold, and each clip at the best one; per cent."""
    hits, marked, true = np.stack(list(counted.values())).transpose(2, 0, 1).astype(float)
    figures = {
        "iou": hits / (marked + true - hits),
        "precision": hits / np.maximum(marked, 1),
        "recall": hits / np.maximum(true, 1),
    }
    best = int(figures["iou"].mean(0).argmax())
    return {
        "best": {"threshold": THRESHOLDS[best], **dict(rounded(figures, best))},
        "clips": {
            clip: round(100 * float(iou), 1)
            for clip, iou in zip(counted, figures["iou"][:, best], strict=True)
        },
        "thresholds": {f"{at:g}": dict(rounded(figures, i)) for i, at in enumerate(THRESHOLDS)},
    }


def rounded(figures: Mapping[str, np.ndarray], at: int) -> Iterator[tuple[str, float]]:
    for name, values in figures.items():
        yield name, round(100 * float(values[:, at].mean()), 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sources", nargs="+", default=["imagenet", "tags"], help="which networks (default both)")
    add("--scales", nargs="+", type=float, default=[0.75, 1.25], help="of the frames (default 0.75 1.25)")
    add("--every", type=int, default=10, help="a frame in so many is looked at (default 10)")
    add("--steps", type=int, default=60, help="of the classifier's training (default 60)")
    add("--output", type=Path, default=HERE / "results" / "cam_iou.json", help="JSON to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
