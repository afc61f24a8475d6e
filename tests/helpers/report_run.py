"""A results folder as the stages leave it, small enough to make in every test of the report."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from helpers.cache_entries import ATTRIBUTES
from weclick.clicks import POINT, ClickTable, write_clicks
from weclick.common.config import complete_config
from weclick.datasets.frames import pack_frames
from weclick.manifest import Classes, Clip, Frame, Manifest, write_manifest
from weclick.models import build_model
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.report import write_report
from weclick.store import Store, file_digest, write_index
from weclick.store.flow_entries import allocate_flow, write_flow
from weclick.store.model_file import model_bytes

SIZE = H, W = 32, 64
CLASSES = Classes(("road", "car", "lamp <b>"), ((128, 64, 128), (0, 0, 142), (250, 170, 30)))


@dataclass(frozen=True)
class Run:
    """A results folder as the stages leave it, with its configuration and store."""

    folder: Path
    config: dict[str, Any]
    store: Store

    def page(self) -> str:
        out = self.folder.parent / "report.html"
        write_report(out, results=self.folder, config=self.config, store=self.store, command="snakemake all")
        return out.read_text(encoding="utf-8")

    def edit(self, name: str, **changes) -> None:
        path = self.folder / name
        write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_line(path: Path, **values: Any) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def write_frame(root: Path, split: str, t: int) -> Frame:
    rng, name = np.random.default_rng((t, *split.encode())), f"{split}/{t:05d}"
    label = np.zeros(SIZE, np.uint8)
    label[8:24, 4 * t : 4 * t + 20] = 1
    label[:2] = 255
    (root / split).mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(root / f"{name}.jpg")
    Image.fromarray(label).save(root / f"{name}_label.png")
    digest = file_digest(root / f"{name}.jpg")
    return Frame(f"{t:05d}", t, f"{name}.jpg", digest=digest, label=f"{name}_label.png")


def make_manifest(root: Path, split: str) -> Manifest:
    frames = tuple(write_frame(root, split, t) for t in range(3))
    role = {"targets": (1,)} if split == "train" else {"scored": (0, 2)}
    clip = Clip("street", frames, **role, height_px=H, width_px=W)
    return Manifest("toy", str(root), split, 0, 1, CLASSES, (clip,))


def write_flow_entry(store: Store, manifest: Manifest) -> dict[str, str]:
    (clip,) = manifest.clips
    target, neighbour = clip.frames[1], clip.frames[0]
    inputs = {"pairs": [[target.digest, neighbour.digest]]}
    valid = np.full((8, 16), 2, np.uint8)
    valid[:, :8] = 0
    with store.create("flow", inputs) as entry:
        arrays = allocate_flow(entry, 1, SIZE, stride_px=4, with_masks=True)
        write_flow(arrays, 0, np.full((2, 8, 16), 1.25), valid, on_overflow="error")
        entry.attributes.update(
            {
                **ATTRIBUTES,
                "pairs": [[target.name, neighbour.name]],
                "pair_positions": [[1, 0]],
                "image_size": SIZE,
                "masks": {"photometric": {"bit": 2, "threshold_grey_levels": 12, "window_px": 5}},
            }
        )
    (made,) = store.roots[0].glob("flow/v1/*/*/entry.json")
    return {clip.id: json.loads(made.read_text(encoding="utf-8"))["key"]}


def scores(miou: float) -> dict[str, Any]:
    return {
        "miou": miou,
        "mean_accuracy": 0.6612,
        "pixel_accuracy": 0.9,
        "per_class_iou": {"road": 0.8, "car": miou, "lamp <b>": None},
        "temporal_consistency": float("nan"),
        "parameters": 16607667,
        "fps": 128.34,
        "confusion_matrix": [[90, 10, 0, 0], [20, 80, 0, 0], [0, 0, 0, 0]],
        "frames": 2,
        "device": "cpu",
        "image_size": [H, W],
    }


def write_model(folder: Path, terms: tuple[str, ...]) -> None:
    options = {"architecture": "deeplabv3plus", "backbone": "resnet18", "num_classes": 3, "channels": 64}
    card = {"options": options, "steps": 400, "train_seconds": 83.2, "parameters": 16607667, "seed": 0}
    digests = {"kind": "models", "key": "ab" * 32, "weights_sha256": "cd" * 32}
    write_json(folder / "model.json", {**digests, **card})
    lines: list[dict[str, Any]] = [
        {
            "step": step,
            "seconds": step * 0.2,
            "lr": 0.1,
            "loss": 1 / step,
            "terms": dict.fromkeys(terms, 0.5 / step),
            "data_wait_share": 0.25,
        }
        for step in range(1, 400)
    ]
    lines.append({"step": 400, "seconds": 80, "validation": {"miou": 0.5, "per_class_iou": {}}})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 401, "cut')


def write_caches(folder: Path, store: Store, manifest: Manifest) -> None:
    """Untrained networks, and what the real stages make of the training split."""
    torch.manual_seed(0)
    for role in ("teacher", "student"):
        model = build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=16)
        (folder / role / "model.safetensors").write_bytes(model_bytes(model, CLASSES))
    frames = pack_frames(manifest, chunk_px=32, store=store)
    write_index(folder / "frames" / "train" / "0.json", "frames", frames)
    teacher = folder / "teacher" / "model.safetensors"
    soft_labels = compute_soft_labels(manifest, teacher, chunk_px=64, store=store)
    write_index(folder / "soft_labels" / "train" / "0.json", "soft_labels", soft_labels)


def write_ablation(folder: Path) -> None:
    def spread(mean, deviation):
        return {"mean": mean, "spread": deviation, "values": [0.5, None, 0.6]}

    kinds = ("miou", "mean_accuracy", "temporal_consistency", "train_seconds", "steps")
    variants = {
        "weakly": {"description": "clicks alone", **{kind: spread(0.55, 0.0707) for kind in kinds}},
        "kd": {"description": "plus soft labels", **{kind: spread(None, None) for kind in kinds}},
    }
    summary = {"seeds": [0, 1, 2], "variants": variants, "note": "Within the spread is noise."}
    write_json(folder / "ablation" / "summary.json", summary)


def make_run(root: Path) -> Run:
    folder, store = root / "results", Store([root / "store"])
    for split in ("train", "val"):
        manifest = make_manifest(root, split)
        write_manifest(manifest, folder / "manifest" / split / "0.json")
        flow = write_flow_entry(store, manifest) if split == "train" else {}
        write_index(folder / "flow" / split / "0.json", "flow", flow)
    points = np.array([(16, 12, 1, 320), (28, 60, 0, 0)], POINT)
    write_clicks(
        ClickTable("train", CLASSES.names, {("street", "00001"): points}), folder / "clicks" / "train.h5"
    )
    for role in ("student", "teacher"):
        write_model(folder / role, ("partial_cross_entropy", "gated_crf"))
        predicted = Image.fromarray(np.ones(SIZE, np.uint8))
        predicted.putpalette([channel for color in CLASSES.palette for channel in color])
        (folder / "evaluation" / "examples").mkdir(parents=True, exist_ok=True)
        predicted.save(folder / "evaluation" / "examples" / f"{role}.png")
    write_caches(folder, store, make_manifest(root, "train"))
    example = {"clip": "street", "frame": "00002", **{r: f"examples/{r}.png" for r in ("student", "teacher")}}
    evaluation = {**scores(0.5834), "teacher": scores(0.6), "examples": [example]}
    write_json(folder / "evaluation" / "metrics.json", evaluation)
    write_line(folder / "flow" / "train" / "0.cost.jsonl", seconds=61.0, made=1, found=0, written_bytes=2_000)
    write_line(folder / "flow" / "train" / "0.cost.jsonl", seconds=0.5, made=0, found=1, written_bytes=0)
    return Run(folder, complete_config({"data": {"root": str(root)}, "seed": 7}), store)
