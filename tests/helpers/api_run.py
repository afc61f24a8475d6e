"""A folder as a user of the Python interface has it: a run on the tiny street, its store, and a video."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

from PIL import Image

from helpers.experiment_summary import make_summary
from helpers.street import Street
from weclick.manifest.read import read_clip
from weclick.manifest.video import video_writer
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.layout import SUMMARY, Layout
from weclick.store import Store, write_index
from weclick.train.data.stream import Caches
from weclick.train.recipe import Recipe
from weclick.train.stage import train_recipe


def make_api_run(street: Street, folder: Path) -> Path:
    """Train a teacher and a student; leave `results/`, `store/`, `frames/` and `street.mp4` in a folder."""
    shutil.copytree(street.store.local.path, folder / "store")
    store, layout = Store([folder / "store"]), Layout(folder / "results")
    _train(street, store, "teacher", layout, {})
    labels = compute_soft_labels(street.train, layout.weights("teacher"), chunk_px=16, store=store)
    _train(street, store, "student", layout, labels)
    for kind, keys in (("frames", street.frames), ("flow", street.flow), ("soft_labels", labels)):
        write_index(layout.shards(kind, "train", 1)[0], kind, keys)
    images = list(read_clip(street.val, street.val.clips[0]))
    (folder / "frames").mkdir()
    with video_writer(folder / "street.mp4", Fraction(10)) as write:
        for t, image in enumerate(images):
            Image.fromarray(image).save(folder / "frames" / f"{t:05d}.png")
            write(image)
    summary = layout.experiment("invented") / SUMMARY
    summary.parent.mkdir(parents=True)
    summary.write_text(json.dumps(make_summary()), encoding="utf-8")
    return folder


def _train(street: Street, store: Store, role: str, layout: Layout, labels: dict[str, str]) -> None:
    named = ("seed", "teacher", "partial_cross_entropy", "gated_crf")
    config = street.config if role == "student" else {name: street.config[name] for name in named}
    recipe = Recipe(
        role=role,
        config=config,
        manifest=street.train,
        clicks=street.clicks,
        caches=Caches(store, street.frames, street.flow, labels),
        validation=street.val,
    )
    train_recipe(recipe, layout.of(role), device="cpu")
