"""A tiny street with labels made of the truth, for networks of relations and detectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from weclick.common.config import complete_config
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.datasets.toy.draw import generate
from weclick.flow.stage import compute_flow
from weclick.manifest import Clip, Manifest
from weclick.manifest.click_table import ClickTable
from weclick.manifest.needs import pair, step
from weclick.manifest.read import read_instances, read_label
from weclick.proxy_labels.proxy_labels import write_class_maps
from weclick.runs.consist import Consist
from weclick.store import Store, entry_key
from weclick.store.instance_entries import FrameInstances, no_instances, write_instances
from weclick.train.data.proxied import with_confident_targets, with_instance_targets
from weclick.train.data.stream import Caches
from weclick.train.recipe import Recipe

DELTA = 2

FLOW_BOUNDARY = {
    "weight": 0.0,
    "lambda": 2.0,
    "components": 2,
    "unit": "image_px",
    "signal": "gradient",
    "occlusion": "none",
}
MASKCONSIST = {
    "weight": 1.0,
    "intra": True,
    "inter": True,
    "iom": True,
    "overlap": "box",
    "matching": "each",
    "min_iou": 0.0,
    "min_score": 0.0,
    "warmup": 0.0,
    "iom_across_classes": False,
    "iom_order": "area",
    "grid_px": 4,
}
SMALL = {
    "backbone": "resnet18",
    "pretrained": None,
    "steps": 4,
    "batch_size": 2,
    "crop": [64, 96],
    "scale": [0.8, 1.25],
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "log_every": 1,
    "checkpoint_every": 2,
    "validate_every": 0,
    "precision": "32",
}
OF_DETECTOR = {
    "channels": 16,
    "min_score": 0.05,
    "nms": 0.5,
    "detections": 20,
    "proposals": [100, 50],
    "anchors_px": [8, 16, 32, 64, 128],
    "rois": 32,
}
"""Sections as the configuration holds them, for trainings of seconds."""


@dataclass(frozen=True)
class Prepared:
    """The prepared street. Of `keys`, flow is by need."""

    config: dict[str, Any]
    store: Store
    train: Manifest
    val: Manifest
    keys: dict[str, dict[str, str]]

    def recipe(self, role: str, *, store: Store | None = None, **changed: Any) -> Recipe:
        """The recipe of a role; `changed` are values of its section, or whole sections, or `keys`."""
        keys = self.keys | changed.pop("keys", {})
        sections = {
            "flow_boundary": FLOW_BOUNDARY | changed.pop("flow_boundary", {}),
            "maskconsist": MASKCONSIST | changed.pop("maskconsist", {}),
        }
        shared = {
            name: value
            for name, value in self.config["classifier"].items()
            if name not in ("hidden", "dropout", "freeze")
        }
        own = OF_DETECTOR if role == "detector" else {"radius": 5, "displacement_learning_rate_factor": 10.0}
        config: Any = {"seed": changed.pop("seed", 0), role: {**shared, **SMALL, **own, **changed}}
        caches = Caches.of(store or self.store, keys | {"flow": keys[{"relation": "step"}.get(role, "pair")]})
        if role == "relation":
            config["flow_boundary"] = sections["flow_boundary"]
            manifest, in_loop = with_confident_targets(self.train, caches), None
        else:
            config |= {"pair": {"delta_frames": DELTA}, "maskconsist": sections["maskconsist"]}
            manifest, in_loop = with_instance_targets(self.train, caches), Consist.of(config)
        clicks = ClickTable(self.train.split, self.train.classes.names, {})
        return Recipe(role, config, manifest, clicks, caches, self.val, in_loop)


def prepare(
    root: Path, base: dict[str, Any], *, frames: int = 5, size: tuple[int, int] = (64, 96)
) -> Prepared:
    """Draw two clips, and store their frames, flows, class maps and instances."""
    toy = {"height": size[0], "width": size[1], "frames": frames, "clips": {"train": 2, "val": 1}}
    config = complete_config({**base, "data": {**base["data"], "target_every": 1, "toy": toy}})
    config["data"]["root"] = str(root / "data")
    generate(root / "data", **config["data"]["toy"])
    store, dataset = Store([root / "store"]), open_dataset(config["data"])
    train, val = (
        build_manifest(dataset, split, 0, 1, reach_frames=DELTA, remember=None) for split in ("train", "val")
    )
    flow = partial(compute_flow, train, options=config["flow"], store=store)
    keys = {
        "frames": pack_frames(train, chunk_px=32, store=store),
        "step": flow(step),
        "pair": flow(partial(pair, delta_frames=DELTA)),
        "confident_labels": confident_labels(train, store),
        "instances": instances(train, store),
    }
    return Prepared(config, store, train, val, keys)


def true_instances(manifest: Manifest, clip: Clip, t: int) -> FrameInstances:
    """The objects of a frame of the toy."""
    label, numbers = (read(manifest, clip.frames[t]) for read in (read_label, read_instances))
    wanted = [number for number in np.unique(numbers) if number >= 1000]
    if not wanted:
        return no_instances(clip.size)
    masks = np.stack([numbers == number for number in wanted])
    classes = [np.bincount(label[mask]).argmax() for mask in masks]
    return FrameInstances(masks, np.array(classes, np.int64), np.ones(len(wanted), np.float32))


def instances(
    manifest: Manifest,
    store: Store,
    of: Callable[[Manifest, Clip, int], FrameInstances] = true_instances,
    name: str = "truth",
) -> dict[str, str]:
    """Entries of instances: those that `of` gives of each frame."""
    keys = {}
    for clip in manifest.clips:
        inputs = {"format": 1, "frames": [frame.digest for frame in clip.frames], "made": name}
        keys[clip.id] = entry_key("instances", inputs)
        with store.create("instances", inputs) as entry:
            found = ((frame, of(manifest, clip, t)) for t, frame in enumerate(clip.frames))
            write_instances(entry, found, clip.size, classes=manifest.classes.names)
            entry.attributes["source"] = "clicks"
    return keys


def confident_labels(
    manifest: Manifest, store: Store, wanted: Callable[[Clip], list[int]] | None = None, name: str = "truth"
) -> dict[str, str]:
    """Entries of class maps of frames: 0 where no object is, 255 at the left border."""
    keys = {}
    for clip in manifest.clips:
        inputs = {"format": 1, "frames": [frame.digest for frame in clip.frames], "made": name}
        keys[clip.id] = entry_key("confident_labels", inputs)
        labels = []
        for t in range(len(clip.frames)) if wanted is None else wanted(clip):
            masks, classes, _ = true_instances(manifest, clip, t)
            maps = np.zeros(clip.size, np.uint8)
            for mask, class_id in zip(masks, classes, strict=True):
                maps[mask] = class_id
            maps[:, :4] = 255
            labels.append((t, maps))
        with store.create("confident_labels", inputs) as entry:
            write_class_maps(entry, manifest, clip, labels, source="cams", chunk_px=32)
    return keys
