"""A results folder of a run that trains a detector on instances made of tags."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from helpers.cam_entries import write_chain
from helpers.proxy_run import add_cams, add_classifier, train_of
from helpers.report_run import CLASSES, SIZE, H, Run, W, make_run, write_json, write_model
from weclick.clicks.tags import make_tags, write_tags
from weclick.common.config import complete_config
from weclick.evaluate.instances.quality import instance_quality, write_instance_quality
from weclick.manifest import Clip, Manifest
from weclick.models import build_relation
from weclick.runs.layout import Layout
from weclick.store import Store, entry_key, read_index, write_index
from weclick.store.instance_entries import FrameInstances, write_instances
from weclick.store.model_file import model_bytes

STEPS = 40
SCORES = {
    "AP": 0.3125,
    "AP50": 0.5512,
    "AP75": 0.2,
    "AR1": 0.25,
    "AR10": 0.4321,
    "per_class": {"car": {"AP": 0.3125, "AP50": 0.5512}, "lamp <b>": {"AP": float("nan"), "AP50": None}},
    "cityscapes": {"AP": 0.2875, "AP50": 0.5, "per_class": {"car": {"AP": 0.2875, "AP50": 0.5}}},
    "semantic_miou": 0.4567,
    "per_class_iou": {"car": 0.4567},
    "temporal_consistency": 0.8123,
    "video": {"videos": 1, "AP": 0.1234, "AP50": 0.3456},
    "instances_a_frame": 1.81,
    "sure_a_frame": 0.9,
    "truth_a_frame": 2.5,
}


def make_instance_run(root: Path) -> Run:
    """A run of the method maskconsist, where one of WeClick left a student and soft labels before."""
    weclick = make_run(root)
    run = Run(weclick.folder, instance_config(root), weclick.store)
    _tell_objects_apart(run, root)
    layout, manifest = Layout(run.folder), train_of(run)
    write_tags(make_tags(manifest, run.config["tags"]), layout.tags("train"))
    add_classifier(run)
    add_cams(run, manifest)
    _flow(run, manifest)
    (clip,) = manifest.clips
    keys = {clip.id: write_confident_labels(run.store, manifest, clip)}
    write_index(layout.shards("confident_labels", "train", 1)[0], "confident_labels", keys)
    _relation(layout)
    (index,) = layout.shards("instances", "train", 1)
    write_index(index, "instances", {clip.id: write_boxes(run.store, clip, found_in(clip))})
    write_instance_quality(index, instance_quality(manifest, read_index([index], "instances"), run.store))
    _detector(layout)
    return run


def instance_config(root: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    """A complete configuration of the method; a section that changes replaces what stands here."""
    sections = {"tags": {"min_pixels": 1}, "cams": {"scales": [1], "min_score": 1}, **changes}
    return complete_config({"method": "maskconsist", "data": {"root": str(root)}, "seed": 7, **sections})


def copied(run: Run, root: Path, **changes: dict[str, Any]) -> Run:
    """The run in another folder, to take things away from, with the same store."""
    shutil.copytree(run.folder, root / "results")
    config = instance_config(Path(run.config["data"]["root"]), **changes)
    return Run(root / "results", config, run.store)


def write_confident_labels(store: Store, manifest: Manifest, clip: Clip) -> str:
    """The left half of each frame is road, a quarter is car, the rest is unlabelled. Gives the key."""
    inputs = {"format": 1, "frames": [frame.digest for frame in clip.frames], "by": "hand"}
    labels = np.full((len(clip.frames), *clip.size), 255, np.uint8)
    labels[:, :, : W // 2], labels[:, :, W // 2 : 3 * W // 4] = 0, 1
    with store.create("confident_labels", inputs) as entry:
        array = entry.create_array(
            "classes", shape=labels.shape, chunks=(1, 32, 32), dtype="uint8", axes="NHW", codec="zstd_bytes"
        )
        for n, label in enumerate(labels):
            array[n] = label
        entry.attributes.update(
            {
                "frames": [frame.name for frame in clip.frames],
                "digests": [frame.digest for frame in clip.frames],
                "classes": list(manifest.classes.names),
                "source": "cams",
                "units": "class ids; 255: ignored",
                "axes": "NHW",
            }
        )
    return entry_key("confident_labels", inputs)


def write_boxes(
    store: Store,
    clip: Clip,
    found: list[FrameInstances],
    names: tuple[str, ...] = CLASSES.names,
    by: str = "hand",
) -> str:
    """The entry of instances of a clip's frames. Gives its key."""
    inputs = {"format": 1, "frames": [frame.digest for frame in clip.frames], "by": by}
    with store.create("instances", inputs) as entry:
        write_instances(entry, zip(clip.frames, found, strict=True), clip.size, classes=names)
        entry.attributes["source"] = "relation"
    return entry_key("instances", inputs)


def boxes(*given: tuple[int, int, int, int, int, float]) -> FrameInstances:
    """Instances of (top, bottom, left, right, class id, score)."""
    masks = np.zeros((len(given), *SIZE), bool)
    for mask, (top, bottom, left, right, *_) in zip(masks, given, strict=True):
        mask[top:bottom, left:right] = True
    classes, scores = ([box[i] for box in given] for i in (4, 5))
    return FrameInstances(masks, np.array(classes, np.int64), np.array(scores, np.float32))


def found_in(clip: Clip) -> list[FrameInstances]:
    """Nothing in the first frame, one car in the second, a car and a lamp in the third."""
    one, two = boxes((8, 24, 4, 20, 1, 0.83)), boxes((8, 24, 8, 24, 1, 1.0), (2, 12, 40, 50, 2, 0.412))
    return [boxes(), one, two][: len(clip.frames)]


def _tell_objects_apart(run: Run, root: Path) -> None:
    """Instance files of both splits: the car's pixels are two cars."""
    for split in ("train", "val"):
        (path,) = Layout(run.folder).shards("manifest", split, 1)
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["classes"]["instance_classes"] = [1]
        for frame in raw["clips"][0]["frames"]:
            with Image.open(root / frame["label"]) as opened:
                label = np.asarray(opened).astype(np.uint16)
            ids = np.where(label == 1, 1000 + (np.arange(W) >= 14), label)
            name = frame["label"].replace("_label", "_ids")
            Image.fromarray(ids.astype(np.uint16)).save(root / name)
            frame["instances"] = name
        write_json(path, raw)


def _flow(run: Run, manifest: Manifest) -> None:
    """The flow to the next frame, beside that of the window."""
    (index,) = Layout(run.folder).shards("flow", "train", 1)
    (clip,) = manifest.clips
    step = write_chain(run.store, clip, step=(-1, 0), both=True)
    write_index(index, "flow", {clip.id: {"window": read_index([index], "flow")[clip.id], "step": step}})


def _relation(layout: Layout) -> None:
    torch.manual_seed(3)
    layout.of("relation").mkdir()
    model = build_relation("mobilenetv2_compact")
    layout.weights("relation").write_bytes(model_bytes(model, CLASSES))
    write_model(layout.of("relation"), ("affinity_displacement",))


def _detector(layout: Layout) -> None:
    """The log and the scores of a detector; its weights are not looked at."""
    layout.of("detector").mkdir()
    write_model(layout.of("detector"), ("objectness", "mask"))
    curves = layout.curves("detector")
    lines = [
        {"step": step, "seconds": step, "lr": 0.1, "loss": 1 / step, "terms": {"mask": 0.5 / step}}
        | {"labels_given": 2.0, "labels_used": 2 + 1.5 * step / STEPS, "data_wait_share": 0.25}
        for step in range(1, STEPS + 1)
    ]
    curves.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    card = json.loads(layout.card("detector").read_text(encoding="utf-8"))
    card["options"] = {"architecture": "detector", "backbone": "mobilenetv2_compact", "channels": 64}
    write_json(layout.card("detector"), card)
    drawn = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)
    (layout.of("evaluate") / "examples").mkdir(exist_ok=True)
    Image.fromarray(drawn).save(layout.of("evaluate") / "examples" / "detector.png")
    example = {"clip": "street", "frame": "00002", "detector": "examples/detector.png"}
    evaluation = {
        "instances": SCORES,
        "frames": 2,
        "clips": 1,
        "image_size": [H, W],
        "parameters": 44401393,
        "fps": 3.2,
        "device": "cpu",
        "examples": [example],
    }
    write_json(layout.scores, evaluation)
