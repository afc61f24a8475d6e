"""Made-up data of Cityscapes' sizes for `reads.py`, in weclick's store."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from weclick.clicks import ClickTable
from weclick.common.digest import file_digest
from weclick.datasets.frames import pack_frames
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.window import Window
from weclick.store import SOFT_LABEL_CODECS, Store, entry_key
from weclick.store.flow_entries import allocate_flow, write_flow
from weclick.store.meta import META, describe_entry, entry_name, spell_meta
from weclick.train.data.stream import Caches, Stream

CLASSES, STRIDE = 19, 4
SIZE = (1024, 2048)
FRAMES = 5
"""Frames of a clip. The last one is the target, the others are its possible neighbours."""

KINDS = {"rgb": "frames", "probabilities": "soft_labels", "flow": "flow", "valid": "flow"}
PHOTOMETRIC = 2


def draw_clip(seed: int, size: tuple[int, int], codec: str = "root6") -> dict[str, np.ndarray]:
    """The arrays of one clip, as they are stored: rgb, probabilities, flow (in px) and valid."""
    rng = np.random.default_rng(seed)
    grid = size[0] // STRIDE, size[1] // STRIDE
    return {
        "rgb": np.stack([draw_frame(rng, size) for _ in range(FRAMES)]),
        "probabilities": np.stack(
            [SOFT_LABEL_CODECS[codec].encode(draw_probabilities(rng, grid)) for _ in range(FRAMES)]
        ),
        "flow": np.stack([4 * waves(rng, grid, 2, 0.5) for _ in range(FRAMES - 1)]),
        "valid": np.stack(
            [(waves(rng, grid, 1, 0.6)[0] > -1.2) * np.uint8(PHOTOMETRIC) for _ in range(FRAMES - 1)]
        ),
    }


def draw_frame(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: waves and some noise. Its PNG is about as large as a Cityscapes frame's, 2.2 MiB."""
    grey = waves(rng, size, 1, 0.62) + 0.3 * waves(rng, size, 3, 0.62, octaves=4)
    noise = rng.standard_normal((3, *size), np.float32)
    return np.clip(110 + 45 * grey / grey.std() + noise, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def draw_probabilities(rng: np.random.Generator, grid: tuple[int, int]) -> np.ndarray:
    """(K, h, w): the softmax of smooth logits. The likeliest class has 0.75 on average."""
    logits = 4 * waves(rng, grid, CLASSES, 0.75, octaves=6)
    exponentials = np.exp(logits - logits.max(0))
    return exponentials / exponentials.sum(0)


def waves(
    rng: np.random.Generator, size: tuple[int, int], channels: int, decay: float, octaves: int = 9
) -> np.ndarray:
    """(channels, *size) float32: random fields of doubling frequency and falling height."""
    total = np.zeros((*size, channels), np.float32)
    for i in range(octaves):
        field = rng.standard_normal(
            (min(size[0], 2**i + 1), min(size[1], 2 ** (i + 1) + 1), channels), np.float32
        )
        total += decay**i * cv2.resize(field, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(total.shape)
    return total.transpose(2, 0, 1)


def make_store(folder: Path, size: tuple[int, int], clips: int) -> tuple[Manifest, Caches]:
    """Make up clips and store them by the stages' own code. Frames also lie beside the store as PNG files."""
    store, made = Store([folder / "store"]), []
    flow_keys, label_keys = {}, {}
    for number in range(clips):
        arrays, clip = draw_clip(number, size), make_clip(str(number), size)
        (folder / "png" / clip.id).mkdir(parents=True)
        for frame, rgb in zip(clip.frames, arrays["rgb"], strict=True):
            cv2.imwrite(str(folder / frame.image), rgb[..., ::-1])
        clip = with_digests(clip, folder)
        flow_keys[clip.id] = entry_key("flow", flow_inputs(clip))
        with store.create("flow", flow_inputs(clip)) as entry:
            stored = allocate_flow(entry, FRAMES - 1, size, stride_px=STRIDE, with_masks=True)
            for i in range(FRAMES - 1):
                write_flow(stored, i, arrays["flow"][i], arrays["valid"][i], on_overflow="clip")
            entry.attributes.update(stride_px=STRIDE, masks={"photometric": {"bit": PHOTOMETRIC}})
        label_keys[clip.id] = entry_key("soft_labels", frame_inputs(clip))
        with store.create("soft_labels", frame_inputs(clip)) as entry:
            labels = arrays["probabilities"]
            entry.create_array(
                "probabilities",
                shape=labels.shape,
                chunks=(1, CLASSES, 64, 64),
                dtype="uint8",
                axes="TCHW",
                codec="zstd_bytes",
            )[:] = labels
            names = [str(i) for i in range(CLASSES)]
            entry.attributes.update(stride_px=STRIDE, codec="root6", classes=names)
        made.append(clip)
    manifest = make_manifest(folder, made)
    frame_keys = pack_frames(manifest, chunk_px=256, store=store)
    return manifest, Caches(store, frame_keys, flow_keys, label_keys)


def make_clip(name: str, size: tuple[int, int]) -> Clip:
    digests = [entry_key("frames", {"clip": name, "frame": t}) for t in range(FRAMES)]
    frames = tuple(Frame(f"{t}", t, f"png/{name}/{t}.png", digests[t]) for t in range(FRAMES))
    return Clip(name, frames, targets=(FRAMES - 1,), height_px=size[0], width_px=size[1])


def with_digests(clip: Clip, folder: Path) -> Clip:
    """The clip with the digests of its files, without which no stage takes them."""
    frames = [replace(frame, digest=file_digest(folder / frame.image)) for frame in clip.frames]
    return replace(clip, frames=tuple(frames))


def make_manifest(folder: Path, clips: Sequence[Clip]) -> Manifest:
    classes = Classes(tuple(str(i) for i in range(CLASSES)), ((0, 0, 0),) * CLASSES)
    return Manifest("drawn", str(folder), "train", 0, 1, classes, tuple(clips))


def frame_inputs(clip: Clip) -> dict[str, Any]:
    return {"frames": [frame.digest for frame in clip.frames]}


def flow_inputs(clip: Clip) -> dict[str, Any]:
    return {"pairs": [[clip.frames[-1].digest, frame.digest] for frame in clip.frames[:-1]]}


def open_stream(
    manifest: Manifest, caches: Caches, crop: int, scale: Sequence[float], batch_size: int = 1
) -> Stream:
    options = {"batch_size": batch_size, "crop": [crop, crop], "scale": list(scale), "flip": True}
    return Stream(
        manifest,
        ClickTable(manifest.split, manifest.classes.names, {}),
        caches,
        window=Window(),
        options=options,
        stride_px=STRIDE,
        occlusion="photometric",
        seed=0,
    )


def multiply(manifest: Manifest, caches: Caches, clips: int) -> tuple[Manifest, Caches]:
    """Multiply the store to `clips` clips: each has its own entries, with hard links as data files."""
    root, first = Path(str(caches.store.roots[-1])), manifest.clips[0]
    made, keys = [], {"frames": {}, "flow": {}, "soft_labels": {}}
    for number in range(clips):
        clip = make_clip(f"copy {number}", first.size)
        made.append(clip)
        for kind, known in keys.items():
            original = caches.store.get(kind, getattr(caches, kind)[first.id])
            inputs = flow_inputs(clip) if kind == "flow" else frame_inputs(clip)
            known[clip.id] = key = entry_key(kind, inputs)
            folder = root / entry_name(kind, key)
            if (folder / META).exists():
                continue
            for name in original.meta["files"]:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(original.path / name, folder / name)
            meta = describe_entry(folder, kind, key, inputs, original.attributes)
            (folder / META).write_bytes(spell_meta(meta))
    return make_manifest(root, made), replace(caches, **keys)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def described(manifest: Manifest) -> dict[str, Any]:
    """A description of the made-up data, for the report."""
    return json.loads(
        json.dumps({"clips": len(manifest.clips), "frames": FRAMES, "size_px": manifest.clips[0].size})
    )
