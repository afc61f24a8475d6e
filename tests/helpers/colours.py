"""A data set of coloured squares on grey: class 1 is red, class 2 is blue. Clips have the classes' names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from weclick.common.config import complete_config
from weclick.common.sections import Config
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.manifest import Manifest
from weclick.manifest.tag_table import TagTable
from weclick.runs.wanted import Wanted
from weclick.store import Store
from weclick.train.data.stream import Caches
from weclick.train.recipe import Recipe

CLASSES = ("background", "red", "blue")
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
SIZE, SIDE, FRAMES = (48, 64), 24, 3
TRAIN, VAL = ("red", "blue", "red_blue", "none"), ("other_red", "other_blue", "other_none")


@dataclass(frozen=True)
class Colours:
    """The prepared data set."""

    config: Config
    train: Manifest
    val: Manifest
    tags: TagTable
    frames: dict[str, str]
    store: Store

    def recipe(self, **changed) -> Recipe:
        """The recipe of a classifier; `changed` are values of its section, or `tags`, `train`, `seed`."""
        given = {name: changed.pop(name, getattr(self, name)) for name in ("tags", "train", "store")}
        config = complete_config(
            {
                **self.config,
                "seed": changed.pop("seed", 0),
                "classifier": {**self.config["classifier"], **changed},
            }
        )
        return Wanted(config).recipe(
            "classifier",
            train=given["train"],
            val=self.val,
            tags=given["tags"],
            caches=Caches(given["store"], self.frames, {}, {}),
        )


def make_colours(root: Path) -> Colours:
    """Draw the frames and labels, and pack the frames. Clips are tagged, their frames are not."""
    _draw(root / "data")
    small = {
        "backbone": "mobilenetv2_compact",
        "pretrained": None,
        "steps": 4,
        "batch_size": 4,
        "crop": [48, 64],
        "scale": [1.0, 1.0],
        "learning_rate": 1e-3,
        "log_every": 1,
        "checkpoint_every": 2,
    }
    data = {"name": "folder", "root": str(root / "data"), "val_clips": ["other_*"]}
    config = complete_config({"method": "f2f", "data": data, "classifier": small})
    dataset = open_dataset(config["data"])
    train, val = (
        build_manifest(dataset, split, 0, 1, reach_frames=1, remember=None) for split in ("train", "val")
    )
    store = Store([root / "store"])
    rows = {(clip, ""): _shown(clip) for clip in TRAIN}
    tags = TagTable(train.classes.names, complete=True, rows=rows)
    return Colours(config, train, val, tags, pack_frames(train, chunk_px=32, store=store), store)


def _shown(clip: str) -> frozenset[int]:
    return frozenset({0, *(i for i, name in enumerate(CLASSES) if name in clip.split("_"))})


def _draw(root: Path) -> None:
    rng = np.random.default_rng(0)
    for clip in (*TRAIN, *VAL):
        for folder in ("frames", "labels"):
            (root / folder / clip).mkdir(parents=True)
        for t in range(FRAMES):
            image = rng.integers(100, 150, (*SIZE, 3), dtype=np.uint8)
            ids = np.zeros(SIZE, np.uint8)
            for turn, i in enumerate(sorted(_shown(clip) - {0})):
                y, x = rng.integers(0, SIZE[0] - SIDE), int(rng.integers(0, 8)) + 32 * turn
                image[y : y + SIDE, x : x + SIDE] = COLOURS[CLASSES[i]]
                ids[y : y + SIDE, x : x + SIDE] = i
            Image.fromarray(image).save(root / "frames" / clip / f"{t:03d}.png")
            Image.fromarray(ids).save(root / "labels" / clip / f"{t:03d}.png")
    lines = [f"  - {{name: {name}, color: [{i}, 0, 0]}}" for i, name in enumerate(CLASSES)]
    (root / "classes.yaml").write_text("\n".join(["classes:", *lines, ""]), encoding="utf-8")
