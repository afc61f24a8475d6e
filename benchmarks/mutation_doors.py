"""The files that `mutations.py` damages, and the doors of weclick that read them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import nn

from weclick.clicks import generate_clicks, read_clicks, write_clicks
from weclick.common.config import complete_config, load_config
from weclick.common.files import read_json
from weclick.datasets.folder import read_classes
from weclick.datasets.frames import pack_frames
from weclick.flow.stage import compute_flow
from weclick.manifest import Classes, Clip, Frame, Manifest, read_manifest, write_manifest
from weclick.manifest.images import read_ids, read_image
from weclick.manifest.read import read_clip
from weclick.manifest.video import decode_video, video_info, video_writer
from weclick.manifest.window import Window
from weclick.models import build_model
from weclick.runs.lock import read_lock, spell_lock
from weclick.store import Store, read_index, write_index
from weclick.store.flow_entries import checked_stride, read_flow
from weclick.store.model_file import load_model, model_bytes
from weclick.train.checkpoint import Trained, load_checkpoint, save_checkpoint
from weclick.train.data.windows import WindowReader

SIZE = H, W = 48, 64
CLASSES = Classes(("road", "car", "pole"), ((128, 64, 128), (0, 0, 142), (153, 153, 153)), (1,))
DIGEST = "0" * 64


@dataclass(frozen=True)
class Door:
    """A kind of file, and what reads it.

    Attributes:
        file: below the folder of all files.
        read: reads it as weclick does, in the folder it is given; returns what was read, as text or bytes.
        promised: digests promise its content, so data that differ are wrong.
        structure: json, yaml or none: how to change its values rather than its bytes.
        forge: makes digests fit again after a change of values, as an attacker would.
    """

    file: str
    read: Callable[[Path], Any]
    promised: bool = False
    structure: str = ""
    forge: Callable[[Path], Any] | None = None


def make_files(folder: Path) -> dict[str, Door]:
    """Write all files into an empty folder, and return the doors by name."""
    manifest = _data(folder / "data")
    write_manifest(manifest, folder / "manifest.json")
    store = Store([folder / "store"])
    (frames,) = pack_frames(manifest, chunk_px=16, store=store).values()
    config = complete_config({"data": {"name": "folder", "root": "data", "train": "train", "val": "val"}})
    (flow,) = compute_flow(
        manifest,
        Window(frames=3, max_gap_frames=2, direction="both").pairs,
        options=config["flow"],
        store=store,
    ).values()
    write_index(folder / "flow/train/0.json", "flow", {"clip": flow})
    write_clicks(_clicks(manifest), folder / "clicks/train.h5")
    torch.manual_seed(0)
    network = build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=8)
    (folder / "model.safetensors").write_bytes(model_bytes(network, CLASSES))
    save_checkpoint(folder / "checkpoint.pt", *_training(), "key", Trained(3, 1.5, 2, 0.25))
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    _cards(folder, config)
    return _doors(f"store/frames/v1/{frames[:2]}/{frames}", f"store/flow/v1/{flow[:2]}/{flow}")


def _doors(frames: str, flow: str) -> dict[str, Door]:
    return {
        "configuration": Door(
            "config.yaml", lambda f: json.dumps(load_config(f / "config.yaml")), structure="yaml"
        ),
        "classes": Door(
            "data/classes.yaml", lambda f: read_classes(f / "data/classes.yaml"), structure="yaml"
        ),
        "manifest": Door("manifest.json", _read_manifest, structure="json"),
        "index": Door(
            "flow/train/0.json", lambda f: read_index([f / "flow/train/0.json"], "flow"), structure="json"
        ),
        "lock": Door("run.lock.json", lambda f: spell_lock(read_lock(f / "run.lock.json")), structure="json"),
        "model.json": Door(
            "model.json", lambda f: read_json(f / "model.json", "student", "model.json"), structure="json"
        ),
        "metrics.json": Door(
            "metrics.json",
            lambda f: read_json(f / "metrics.json", "evaluate", "metrics.json"),
            structure="json",
        ),
        "entry.json": Door(f"{frames}/entry.json", lambda f: _read_frames(f / frames), promised=True),
        "entry.json, forged": Door(
            f"{flow}/entry.json",
            lambda f: _read_flow(f / flow),
            structure="json",
            forge=lambda f: _sign(f / flow),
        ),
        "zarr.json": Door(f"{frames}/rgb/zarr.json", lambda f: _read_frames(f / frames), promised=True),
        "zarr.json, forged": Door(
            f"{flow}/flow/zarr.json",
            lambda f: _read_flow(f / flow),
            structure="json",
            forge=lambda f: _sign(f / flow, relist=True),
        ),
        "chunk": Door(f"{frames}/rgb/c/1/0/0/0", lambda f: _read_frames(f / frames), promised=True),
        "chunk, forged": Door(
            f"{flow}/flow/c/0/0/0/0",
            lambda f: _read_flow(f / flow),
            forge=lambda f: _sign(f / flow, relist=True),
        ),
        "checkpoint": Door("checkpoint.pt", _read_checkpoint, promised=True),
        "safetensors": Door("model.safetensors", _read_model),
        "click table": Door(
            "clicks/train.h5", lambda f: _spell_clicks(read_clicks(f / "clicks/train.h5")), promised=True
        ),
        "click CSV": Door("data/clicks.csv", _read_csv),
        "PNG": Door("data/0.png", lambda f: read_image(f / "data/0.png").tobytes()),
        "label PNG": Door("data/label.png", lambda f: read_ids(f / "data/label.png").tobytes()),
        "JPEG": Door("data/1.jpg", lambda f: read_image(f / "data/1.jpg").tobytes()),
        "video": Door("data/video.mp4", _read_video),
    }


def _data(root: Path) -> Manifest:
    """A clip of two frames, noise over a ramp, with a label, clicks and a video beside it."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, W).astype(np.uint8)[None, :, None]
    images = [rng.integers(0, 50, (*SIZE, 3), np.uint8) + ramp for _ in range(2)]
    label = np.repeat(np.arange(H) // 16, W).reshape(SIZE).astype(np.uint8)
    Image.fromarray(images[0]).save(root / "0.png")
    Image.fromarray(images[1]).save(root / "1.jpg")
    Image.fromarray(label).save(root / "label.png")
    with video_writer(root / "video.mp4", Fraction(25)) as write:
        for image in images * 2:
            write(image)
    named = [
        f"  - {{name: {n}, color: {list(c)}}}" for n, c in zip(CLASSES.names, CLASSES.palette, strict=True)
    ]
    (root / "classes.yaml").write_text("\n".join(["classes:", *named, "instance_classes: [car]"]) + "\n")
    rows = [f"clip,0,{y},{x},{CLASSES.names[y // 16]}" for y, x in rng.integers(0, 48, (9, 2)).tolist()]
    (root / "clicks.csv").write_text("clip,frame,y,x,class\n" + "\n".join(dict.fromkeys(rows)) + "\n")
    digests = [
        hashlib.sha256((root / name).read_bytes()).hexdigest() for name in ("0.png", "1.jpg", "label.png")
    ]
    frames = (
        Frame("0", 0, "0.png", digests[0], label="label.png", label_digest=digests[2]),
        Frame("1", 1, "1.jpg", digests[1]),
    )
    clip = Clip("clip", frames, targets=(0,), height_px=H, width_px=W)
    return Manifest("folder", str(root), "train", 0, 1, CLASSES, (clip,))


def _clicks(manifest: Manifest) -> Any:
    return generate_clicks(
        manifest, options={"min_pixels": 1, "min_pixels_at": None, "point": "centroid"}, seed=0
    )


def _training() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    return model, optimizer


def _cards(folder: Path, config: Any) -> None:
    options = {"architecture": "deeplabv3plus", "backbone": "resnet18", "num_classes": 3, "channels": 64}
    card = {"kind": "models", "key": DIGEST, "weights_sha256": DIGEST, "options": options, "steps": 400}
    card |= {"train_seconds": 83.2, "parameters": 16607667, "seed": 0}
    iou = {"road": 0.8, "car": 0.5, "pole": None}
    scores = {"miou": 0.65, "mean_accuracy": 0.66, "pixel_accuracy": 0.9, "per_class_iou": iou}
    scores |= {"temporal_consistency": None, "parameters": 16607667, "frames": 2}
    places = ("results", "cache", "watch")
    lock = {
        "schema_version": 1,
        "config": {name: part for name, part in config.items() if name not in places},
        "code": {"frames": DIGEST},
        "versions": {"python": "3.11"},
        "device": {"name": "cpu", "threads": 2},
        "data": {"train": {"clip": {"frames": DIGEST, "labels": DIGEST}}},
        "clicks": DIGEST,
        "entries": {name: {"train": {"0": {"clip": DIGEST}}} for name in ("frames", "flow", "soft_labels")},
        "models": {role: {"key": DIGEST, "weights_sha256": DIGEST} for role in ("teacher", "student")},
        "metrics": {"teacher": scores, "student": scores},
    }
    more = {"fps": 128.34, "confusion_matrix": [[90, 10], [20, 80]], "device": "cpu", "image_size": [H, W]}
    for name, value in {"model": card, "metrics": {**scores, **more}, "run.lock": lock}.items():
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _read_manifest(folder: Path) -> str:
    manifest = read_manifest(folder / "manifest.json")
    moved = (
        dataclasses.replace(manifest, root=str(folder / "data")) if Path(manifest.root).is_dir() else manifest
    )
    _clicks(moved)
    for clip in moved.clips:
        for _ in read_clip(moved, clip):
            pass
    return repr(dataclasses.replace(manifest, root=""))


def _read_frames(entry: Path) -> bytes:
    store = Store([entry.parents[3]])
    found = store.get("frames", entry.name).array("rgb")
    window = tuple(slice(0, side) for side in found.shape[1:])
    reading = WindowReader(store).read("frames", entry.name, "rgb", range(len(found)), window)
    steps = np.stack([found[t] for t in range(len(found))])
    assert np.array_equal(steps, reading.result().numpy()), "two readers differ"
    return steps.tobytes()


def _read_flow(entry: Path) -> bytes:
    store = Store([entry.parents[3]])
    found = store.get("flow", entry.name)
    checked_stride(found)
    array = found.array("flow")
    window = tuple(slice(0, side) for side in array.shape[1:])
    reading = WindowReader(store).read("flow", entry.name, "flow", [0], window)
    flow, _ = read_flow(found, 0)
    reading.result()
    return flow.tobytes()


def _read_checkpoint(folder: Path) -> str:
    model, optimizer = _training()
    done = load_checkpoint(folder / "checkpoint.pt", model, optimizer, "key")
    state = [*model.state_dict().values(), *optimizer.state_dict()["state"].values()]
    optimizer.step()
    return f"{done} {state}"


def _read_model(folder: Path) -> bytes:
    model, card = load_model(folder / "model.safetensors")
    digest = hashlib.sha256(repr(card).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.digest()


def _read_csv(folder: Path) -> str:
    manifest = read_manifest(folder / "manifest.json")
    asked = dataclasses.replace(manifest, root=str(folder / "data"), click_file="clicks.csv")
    return _spell_clicks(generate_clicks(asked, options={}, seed=0))  # type: ignore[typeddict-item]


def _spell_clicks(table: Any) -> str:
    return repr(
        (table.split, table.classes, [(name, points.tolist()) for name, points in table.frames.items()])
    )


def _read_video(folder: Path) -> bytes:
    video_info(folder / "data/video.mp4")
    digest = hashlib.sha256()
    for image in decode_video(folder / "data/video.mp4"):
        digest.update(image.tobytes())
    return digest.digest()


def _sign(entry: Path, *, relist: bool = False) -> None:
    """Make sums and digests of an entry fit what lies there, as an attacker who knows the format."""
    from weclick.common.digest import file_digest
    from weclick.store.meta import _digest, spell_meta

    meta = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
    if relist:
        files = [p for p in sorted(entry.rglob("*")) if p.is_file() and p.name != "entry.json"]
        meta["files"] = {
            p.relative_to(entry).as_posix(): {"bytes": p.stat().st_size, "sha256": file_digest(p)}
            for p in files
        }
        meta["entry_bytes"] = sum(file["bytes"] for file in meta["files"].values())
    rest = {name: value for name, value in meta.items() if name != "digest"}
    (entry / "entry.json").write_bytes(spell_meta({**rest, "digest": _digest(rest)}))
