"""A results folder of a run whose student looks at flow and learned from tags and maps."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from helpers.cam_entries import write_chain
from helpers.proxy_run import add_cams, add_classifier, train_of
from helpers.report_run import CLASSES, Run, make_run, write_model
from weclick.clicks.tags import make_tags, write_tags
from weclick.common.config import complete_config
from weclick.geometry import StackOptions
from weclick.models import build_model
from weclick.runs.layout import Layout
from weclick.store import read_index, write_index
from weclick.store.model_file import Motion, model_bytes

TERMS = ("tag", "heatmap", "constrain")
STACK = {"length": 2, "first": -1, "scale_px": 4}


def make_two_stream_run(root: Path) -> Run:
    """A run of the method two_stream, where one of WeClick left a teacher and soft labels before."""
    weclick = make_run(root)
    run = Run(weclick.folder, two_stream_config(root), weclick.store)
    path = run.folder / "evaluation" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    metrics.pop("teacher")
    for example in metrics["examples"]:
        example.pop("teacher")
    path.write_text(json.dumps(metrics), encoding="utf-8")
    layout, manifest = Layout(run.folder), train_of(run)
    write_tags(make_tags(manifest, run.config["tags"]), layout.tags("train"))
    add_classifier(run)
    add_cams(run, manifest)
    _flow(run)
    write_model(layout.of("student"), TERMS)
    write_student(run, fusion="early")
    return run


def two_stream_config(root: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    """A complete configuration; a section that changes replaces what stands here."""
    sections = {
        "tags": {"min_pixels": 1},
        "cams": {"source": "tags", "scales": [1], "min_score": 1},
        "student": {"architecture": "two_stream"},
        "stack": STACK,
        "constrain_loss": {"weight": 1},
        **changes,
    }
    return complete_config({"method": "two_stream", "data": {"root": str(root)}, "seed": 7, **sections})


def copied(run: Run, root: Path, **changes: dict[str, Any]) -> Run:
    """The run in another folder, with another configuration and the same store."""
    shutil.copytree(run.folder, root / "results")
    config = two_stream_config(Path(run.config["data"]["root"]), **changes)
    return Run(root / "results", config, run.store)


def write_student(run: Run, fusion: str) -> None:
    """An untrained student that looks at stacks of STACK, or at images alone."""
    stack = StackOptions(**STACK)
    more, motion = {"stack_length": stack.length}, Motion(stack, {"name": "by hand"}, 4)
    if fusion == "none":
        more, motion = {}, None
    torch.manual_seed(2)
    model = build_model("two_stream", "mobilenetv2_compact", 3, channels=8, dropout=0, fusion=fusion, **more)
    Layout(run.folder).weights("student").write_bytes(model_bytes(model, CLASSES, motion=motion))


def _flow(run: Run) -> None:
    """The flow from each frame to the next one, beside that of the window."""
    (index,) = Layout(run.folder).shards("flow", "train", 1)
    (clip,) = train_of(run).clips
    stack = write_chain(run.store, clip, step=(-1, 0), both=True)
    write_index(index, "flow", {clip.id: {"window": read_index([index], "flow")[clip.id], "stack": stack}})
