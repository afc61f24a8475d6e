"""A results folder of a run that learned from proxy labels; the real stages made these of tags."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from helpers.cam_entries import write_chain
from helpers.report_run import CLASSES, Run, make_run, write_model
from weclick.clicks.tags import make_tags, write_tags
from weclick.common.config import complete_config
from weclick.evaluate.proxy_quality import proxy_quality, write_quality
from weclick.manifest import Manifest, read_manifest
from weclick.models import build_classifier
from weclick.proxy_labels.cam_classifier import OfClassifier
from weclick.proxy_labels.cams import compute_cams
from weclick.proxy_labels.proxy_labels import make_proxy_labels
from weclick.runs.layout import Layout
from weclick.runs.proxy_source import Given, proxy_source
from weclick.store import read_index, write_index
from weclick.store.model_file import model_bytes

SECTIONS = {
    "tags": {"min_pixels": 1},
    "cams": {"scales": [1], "min_score": 1},
    "proxy_labels": {"frames": 2, "filter": False, "runs_per_clip": None, "background_threshold": 0.05},
}


def make_proxy_run(root: Path) -> Run:
    """A run of the method f2f, where another one of before left a teacher and soft labels."""
    weclick = make_run(root)
    run = Run(weclick.folder, f2f_config(root), weclick.store)
    path = run.folder / "evaluation" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    metrics.pop("teacher")
    for example in metrics["examples"]:
        example.pop("teacher")
    path.write_text(json.dumps(metrics), encoding="utf-8")
    manifest = train_of(run)
    write_tags(make_tags(manifest, run.config["tags"]), Layout(run.folder).tags("train"))
    add_classifier(run)
    _chain(run, manifest)
    add_cams(run, manifest)
    label(run)
    return run


def f2f_config(root: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    """SECTIONS and what of them changes, complete."""
    sections = {name: {**section, **changes.get(name, {})} for name, section in SECTIONS.items()}
    return complete_config({"method": "f2f", "data": {"root": str(root)}, "seed": 7, **sections})


def copied(run: Run, root: Path, **changes: dict[str, Any]) -> Run:
    """The run in another folder, to take things away from, with the same store."""
    shutil.copytree(run.folder, root / "results")
    return Run(root / "results", f2f_config(Path(run.config["data"]["root"]), **changes), run.store)


def train_of(run: Run) -> Manifest:
    """The manifest of its training split."""
    return read_manifest(Layout(run.folder).shards("manifest", "train", 1)[0])


def label(run: Run) -> None:
    """Make its proxy labels, and tell how good they are."""
    layout, manifest = Layout(run.folder), train_of(run)
    given = Given.of_run(run.config, layout)
    made_by = proxy_source(run.config, manifest, given, store=run.store, remember=None)
    keys = make_proxy_labels(manifest, made_by, chunk_px=32, store=run.store)
    (index,) = layout.shards("proxy_labels", "train", 1)
    write_index(index, "proxy_labels", keys)
    write_quality(index, proxy_quality(manifest, keys, run.store))


def add_classifier(run: Run) -> None:
    """An untrained classifier, as its stage leaves it."""
    layout = Layout(run.folder)
    torch.manual_seed(1)
    model = build_classifier("mobilenetv2_compact", len(CLASSES.names), output_stride=8)
    layout.of("classifier").mkdir()
    layout.weights("classifier").write_bytes(model_bytes(model, CLASSES))
    write_model(layout.of("classifier"), ("multilabel_soft_margin",))


def _chain(run: Run, manifest: Manifest) -> None:
    """The flow along the chain of frames, beside that of the window."""
    (index,) = Layout(run.folder).shards("flow", "train", 1)
    (clip,) = manifest.clips
    chain = write_chain(run.store, clip, step=(-1, 0))
    write_index(index, "flow", {clip.id: {"window": read_index([index], "flow")[clip.id], "chain": chain}})


def add_cams(run: Run, manifest: Manifest) -> None:
    """The maps of its classifier."""
    layout = Layout(run.folder)
    source = OfClassifier.of(layout.weights("classifier"))
    tags = make_tags(manifest, run.config["tags"])
    cams = compute_cams(manifest, source, tags, options=run.config["cams"], store=run.store)
    write_index(layout.shards("cams", "train", 1)[0], "cams", cams)
