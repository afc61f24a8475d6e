"""What do soft labels cost on disk, and what do their codecs lose? Measures all codecs under two compressors.

There are two sources. One is a small teacher, trained here from CamVid's clicks for a few minutes, on frames
that it has not seen. The other is made-up smooth logits of 19 classes. Their maps are set side by side,
mirrored, to the grid of a Cityscapes frame, 256x512 cells. The report gives the Kullback-Leibler divergence
from the original, the share of cells that keep their likeliest class, MiB a frame with and without a flow
(DIS, CamVid enlarged to Cityscapes' height), and the time to read and decode a crop of 192x192 cells.

    python benchmarks/soft_label_codecs.py

CamVid and the backbone's weights lie beside this checkout. Otherwise name them with `--set data.root=...` and
`--set teacher.pretrained=...`. `--teacher` takes a trained teacher.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorstore as ts
import torch
from reads import PACKAGES, folder_bytes, show
from reads_data import draw_probabilities

from weclick.clicks import generate_clicks
from weclick.common.config import load_config, select
from weclick.common.machine import machine, versions
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.flow import build_estimator
from weclick.geometry import downsample_flow
from weclick.manifest import Manifest
from weclick.manifest.read import read_frame
from weclick.models import normalize
from weclick.store import SOFT_LABEL_CODECS, Store, encode_flow
from weclick.store.entries import COMPRESSORS, EntryWriter
from weclick.store.flow_entries import CHUNK_CELLS
from weclick.store.model_file import load_model
from weclick.train.data.stream import Caches
from weclick.train.recipe import Recipe
from weclick.train.stage import WEIGHTS, train_recipe

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
SMALL = {
    "data.root": SHARED / "data" / "camvid",
    "teacher.backbone": "mobilenetv2_compact",
    "teacher.pretrained": SHARED / "weights" / "mobilenet_v2_imagenet.safetensors",
    "teacher.channels": 128,
    "teacher.batch_norm": "frozen",
    "teacher.head_norm": "group",
    "teacher.crop": [176, 240],
    "teacher.optimizer": "adamw",
    "teacher.learning_rate": 1e-3,
}
"""Options that make the teacher of config/camvid.yaml small enough to train here."""

GRID, CROP, CHUNK, STRIDE = (256, 512), 192, 64, 4


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    with tempfile.TemporaryDirectory(prefix="weclick-codecs-") as folder:
        config = load_config(
            options.config, [*(f"{key}={value}" for key, value in SMALL.items()), *options.set]
        )
        val = manifest_of(config, config["data"]["val"])
        weights = options.teacher or train_teacher(config, options.steps, Path(folder))
        flow_mib = measure_flow(val, Path(folder))
        rng = np.random.default_rng(0)
        sources = {
            "teacher": teacher_maps(val, weights, options.frames),
            "drawn": np.stack([draw_probabilities(rng, GRID) for _ in range(options.frames)]),
        }
        rows = [
            measure(source, maps, codec, compressor, flow_mib, Path(folder))
            for source, maps in sources.items()
            for codec in SOFT_LABEL_CODECS
            for compressor in COMPRESSORS
        ]
        report = {
            "machine": machine() | {"load_before": round(load, 2)},
            "versions": versions(*PACKAGES),
            "teacher": teacher_card(weights),
            "sources": {name: described(maps) for name, maps in sources.items()},
            "flow_mib": round(flow_mib, 3),
            "table": rows,
        }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    show(rows, "soft-label codecs")
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    config = HERE.parent / "config" / "camvid.yaml"
    add("--config", type=Path, default=config, help="of the teacher (default config/camvid.yaml)")
    add("--set", action="append", default=[], help="section.key=value, as in `weclick`")
    add("--teacher", type=Path, help="a trained one's model.safetensors")
    add("--steps", type=int, default=120, help="to train the teacher for (default 120)")
    add("--frames", type=int, default=4, help="maps of each source (default 4)")
    add("--threads", type=int, default=1, help="CPU threads (default 1)")
    add("--output", type=Path, default=HERE / "results" / "soft_label_codecs.json", help="JSON to write")
    return parser.parse_args()


def manifest_of(config: dict[str, Any], split: str) -> Manifest:
    return build_manifest(open_dataset(config["data"]), split, 0, 1, reach_frames=0)


def train_teacher(config: dict[str, Any], steps: int, folder: Path) -> Path:
    """Train the configured teacher for some steps, from clicks only."""
    train = manifest_of(config, config["data"]["train"])
    store = Store([folder / "store"])
    chosen = select(config, "teacher")
    chosen["teacher"] |= {"steps": steps, "validate_every": 0}
    clicks = generate_clicks(train, options=config["clicks"], seed=config["seed"])
    caches = Caches(store, pack_frames(train, store=store, **config["frames"]), {}, {})
    nothing = replace(train, clips=())
    train_recipe(Recipe("teacher", chosen, train, clicks, caches, nothing), folder / "teacher", device="cpu")
    return folder / "teacher" / WEIGHTS


def teacher_card(weights: Path) -> dict[str, Any]:
    card = weights.with_name("model.json")
    known = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    return {key: known[key] for key in ("options", "steps", "parameters") if key in known}


@torch.inference_mode()
def teacher_maps(manifest: Manifest, weights: Path, count: int) -> np.ndarray:
    """(count, K, 256, 512): the teacher's maps of frames spread over the split, mirrored side by side."""
    model, _ = load_model(weights)
    model.eval()
    frames = [(clip, t) for clip in manifest.clips for t in range(len(clip.frames))]
    maps = []
    for clip, t in (frames[i * len(frames) // count] for i in range(count)):
        rgb = torch.from_numpy(read_frame(manifest, clip, t).copy()).permute(2, 0, 1)[None]
        small = model(normalize(rgb)).float().softmax(1)[0].numpy()
        spare = [max(0, full - have) for full, have in zip(GRID, small.shape[1:], strict=True)]
        maps.append(
            np.pad(small, ((0, 0), (0, spare[0]), (0, spare[1])), "symmetric")[:, : GRID[0], : GRID[1]]
        )
    return np.stack(maps)


def measure_flow(manifest: Manifest, folder: Path) -> float:
    """MiB of a stored flow on Cityscapes' grid: DIS on neighbouring frames, enlarged to 1024 rows."""
    clip = max(manifest.clips, key=lambda clip: len(clip.frames))
    factor = 4 * GRID[0] / clip.height_px
    first, second = (
        torch.from_numpy(cv2.resize(read_frame(manifest, clip, t), None, fx=factor, fy=factor)).permute(
            2, 0, 1
        )
        for t in (1, 0)
    )
    flow = downsample_flow(build_estimator("dis").estimate(first[None], second[None]), STRIDE)
    stored, _ = encode_flow(flow.numpy(), on_overflow="clip")
    (folder / "flow").mkdir()
    array = EntryWriter(folder / "flow").create_array(
        "flow", shape=stored.shape, chunks=(1, 2, CHUNK_CELLS, CHUNK_CELLS), dtype="int16", axes="PDHW"
    )
    array[:] = stored
    return folder_bytes(folder / "flow") / 2**20 * GRID[0] * GRID[1] / stored[0, 0].size


def measure(
    source: str, maps: np.ndarray, codec: str, compressor: str, flow_mib: float, folder: Path
) -> dict[str, Any]:
    coder, place = SOFT_LABEL_CODECS[codec], folder / source / codec / compressor
    stored = np.stack([coder.encode(each) for each in maps])
    decoded = coder.decode(torch.from_numpy(stored), maps.shape[1]).numpy()
    place.mkdir(parents=True)
    shape, chunks = stored.shape, (1, stored.shape[1], CHUNK, CHUNK)
    EntryWriter(place).create_array(
        "probabilities", shape=shape, chunks=chunks, dtype=stored.dtype, axes="TCHW", codec=compressor
    )[:] = stored
    mib = folder_bytes(place) / 2**20 / len(maps)
    return {
        "source": source,
        "codec": codec,
        "compressor": compressor,
        "kl": float(f"{divergence(maps, decoded):.2e}"),
        "argmax_agreement": round(float((decoded.argmax(1) == maps.argmax(1)).mean()), 4),
        "mib_a_frame": round(mib, 3),
        "with_flow_mib": round(mib + flow_mib, 3),
        **time_crops(place / "probabilities", codec, maps.shape[1], len(maps)),
    }


def divergence(maps: np.ndarray, decoded: np.ndarray) -> float:
    """Mean KL(original || decoded) over cells. Probabilities are at least 1e-7."""
    return float((maps * np.log(np.maximum(maps, 1e-7) / np.maximum(decoded, 1e-7))).sum(1).mean())


def time_crops(array: Path, codec: str, classes: int, frames: int) -> dict[str, float]:
    context = ts.Context({"cache_pool": {"total_bytes_limit": 0}, "data_copy_concurrency": {"limit": 1}})
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{array}/"}}
    opened = ts.open(spec, open=True, read=True, context=context).result()
    rng, read, decode = np.random.default_rng(0), [], []
    for i in range(12):
        y, x = (int(rng.integers(0, full - CROP + 1)) for full in GRID)
        began = time.perf_counter()
        window = opened[i % frames, :, y : y + CROP, x : x + CROP].read().result()
        between = time.perf_counter()
        SOFT_LABEL_CODECS[codec].decode(torch.from_numpy(window), classes)
        read.append(1000 * (between - began))
        decode.append(1000 * (time.perf_counter() - between))
    return {
        "read_crop_ms": round(statistics.median(read), 2),
        "decode_crop_ms": round(statistics.median(decode), 2),
    }


def described(maps: np.ndarray) -> dict[str, Any]:
    likeliest = maps.max(1)
    return {
        "classes": maps.shape[1],
        "mean_of_likeliest": round(float(likeliest.mean()), 3),
        "share_above_0.99": round(float((likeliest > 0.99).mean()), 3),
    }


if __name__ == "__main__":
    main()
