"""Is the stage `soft_labels` as fast as in an older revision? And what does half precision change?

Three teachers label frames of DAVIS: the one of config/davis.yaml (EfficientNet-Lite0, frames of 160x285 px),
a MobileNetV2 on whole frames, and DeepLabV3+ with ResNet101 on frames enlarged to 512x1024. The first two
have ImageNet's weights, and heads that are fitted here for a minute. The third has random weights, so its
labels say nothing of what rounding does to a trained one.

The script checks out the older code. It then runs the verb of both codes in turn, in processes of their own,
into an empty store each time, with every `soft_labels.precision` of today's code. What is measured is the
verb without the imports of packages: loading of teachers, reading, labelling and writing. Rounds alternate
their order. It also compares the entries of the default with those of the older code, byte for byte, and
the labels of the others with the default's.

    python benchmarks/soft_labels.py --against 4c800f8
    python benchmarks/soft_labels.py --against 4c800f8 --teachers lite --rounds 2  # others stay in the JSON
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from older_code import CHECKOUT, git, older_code
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from weclick.common.config import load_config
from weclick.common.machine import machine, versions
from weclick.common.sections import LabelPrecision
from weclick.datasets import build_manifest, open_dataset
from weclick.manifest import Manifest, write_manifest
from weclick.manifest.read import read_clip, read_label
from weclick.models import normalize
from weclick.proxy_labels.soft_labels import CODEC
from weclick.proxy_labels.teachers import Teachers
from weclick.runs.plan.probe import plausible_teacher
from weclick.store import SOFT_LABEL_CODECS, list_entries
from weclick.store.entries import read_meta_file
from weclick.store.model_file import model_bytes
from weclick.train.roles import build_network

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
PRECISIONS: tuple[LabelPrecision, ...] = ("float32", "float32_folded", "bfloat16")
OLDER = "older"
TEACHERS: dict[str, dict[str, Any]] = {
    "lite": {"change": [], "shrink": 3, "frames": 12},
    "mobilenetv2": {
        "change": [
            "teacher.backbone=mobilenetv2",
            f"teacher.pretrained={SHARED / 'weights' / 'mobilenet_v2_imagenet.safetensors'}",
        ],
        "shrink": 1,
        "frames": 2,
    },
    "resnet101": {
        "change": [
            "teacher.backbone=resnet101",
            "teacher.pretrained=null",
            "teacher.channels=256",
            "teacher.head_norm=batch",
        ],
        "shrink": 1,
        "size": (512, 1024),
        "frames": 1,
    },
}
"""Name -> changes of config/davis.yaml, how frames are read, and how many of each of five clips."""

RUN = """
import json, resource, sys, time
from pathlib import Path
import torch, torchvision, timm, zarr, tensorstore
from weclick.cli import main
def used():
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
wall, cpu = time.perf_counter(), used()
sys.argv[0] = "weclick"
status = 0
try:
    main()
except SystemExit as error:
    status = error.code
took = {"seconds": time.perf_counter() - wall, "cpu_seconds": used() - cpu}
took["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
Path("took.json").write_text(json.dumps(took))
sys.exit(status)
"""


def main() -> None:
    options, load = parse(), os.getloadavg()[0]
    torch.set_num_threads(1)  # what is measured has processes of its own
    report = json.loads(options.output.read_text(encoding="utf-8")) if options.output.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="soft-labels-", dir=options.folder) as scratch:
        folder = Path(scratch)
        with older_code(options.against, folder / OLDER) as older:
            for name in options.teachers:
                found = measured(name, folder / name, older, options)
                rows = report.get("teachers", {}) | {name: found}
                report = {
                    "machine": machine() | {"threads_used": options.threads, "load_before": round(load, 2)},
                    "versions": versions("torch", "numpy", "zarr", "pillow"),
                    "against": git("rev-parse", "--short", options.against),
                    "teachers": {each: rows[each] for each in TEACHERS if each in rows},
                }
                options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
                print(name, json.dumps(found, indent=1), flush=True)


def measured(name: str, folder: Path, older: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The times of both codes with one teacher, and how far labels are from each other."""
    folder.mkdir()
    setting = TEACHERS[name]
    words = [f"data.root={SHARED / 'data' / 'davis'}", f"data.shrink={setting['shrink']}", *setting["change"]]
    config = load_config(str(CHECKOUT / "config" / "davis.yaml"), words)
    whole = build_manifest(open_dataset(config["data"]), "train", 0, 1, reach_frames=100)
    part = some_frames(whole, setting["frames"])
    if size := setting.get("size"):
        part = enlarged(part, size, folder / "images")
    write_manifest(part, folder / "manifest.json")
    fitted = name != "resnet101"
    teacher = folder / "model.safetensors"
    teacher.write_bytes(fit(config, options.steps) if fitted else plausible_teacher(config, part))
    count = sum(len(clip.frames) for clip in part.clips)
    return {
        "size_px": part.clips[0].size,
        "frames": count,
        "weights": "ImageNet, and a fitted head" if fitted else "random",
        **compare_times(folder, older, words, count, options),
        "from_float32": compare_labels(part, teacher),
    }


def some_frames(manifest: Manifest, count: int) -> Manifest:
    """So many frames of each clip, spread over it."""
    chosen = (
        clip.restrict([int(t) for t in np.linspace(0, len(clip.frames) - 1, count)])
        for clip in manifest.clips
    )
    return replace(manifest, clips=tuple(chosen))


def enlarged(manifest: Manifest, size: tuple[int, int], folder: Path) -> Manifest:
    """The same frames, scaled to (H, W) and written as JPEG."""
    folder.mkdir()
    clips = []
    for clip in manifest.clips:
        frames = []
        for frame, image in zip(clip.frames, read_clip(manifest, clip), strict=True):
            path = folder / f"{clip.id}_{frame.name}.jpg"
            Image.fromarray(image).resize(size[::-1]).save(path, quality=95)
            frames.append(replace(frame, image=path.name, digest=sha256(path.read_bytes()).hexdigest()))
        clips.append(replace(clip, frames=tuple(frames), height_px=size[0], width_px=size[1]))
    return replace(manifest, root=str(folder), clips=tuple(clips))


def fit(config: Any, steps: int) -> bytes:
    """A teacher whose head is fitted to true labels, on frames at a third of their size."""
    data = {**config["data"], "shrink": 3}
    manifest = build_manifest(open_dataset(data), "train", 0, 1, reach_frames=100)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = build_network(config["teacher"], manifest.num_classes, config["teacher"]["pretrained"]).eval()
    model.backbone.requires_grad_(False)
    head = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(head, lr=1e-3)
    for _ in range(steps):
        images, labels = zip(*(drawn(manifest, rng) for _ in range(2)), strict=True)
        logits = model(normalize(torch.stack(images)))
        loss = cross_entropy(logits, torch.stack(labels), ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model_bytes(model, manifest.classes)


def drawn(manifest: Manifest, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A frame (3, H, W) float and its labels (h, w) at stride 4."""
    clip = manifest.clips[rng.integers(len(manifest.clips))]
    labelled = [t for t, frame in enumerate(clip.frames) if frame.label]
    one = clip.restrict([labelled[rng.integers(len(labelled))]])
    image = torch.tensor(next(read_clip(manifest, one))).permute(2, 0, 1).float()
    return image, torch.tensor(read_label(manifest, one.frames[0])[::4, ::4]).long()


def compare_times(
    folder: Path, older: Path, words: Sequence[str], count: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Seconds a frame of both codes, and whether the default's entries are byte for byte the older ones."""
    ways: tuple[str, ...] = (OLDER, *PRECISIONS)
    took: dict[str, list[Mapping[str, float]]] = {way: [] for way in ways}
    digests: dict[str, list[Any]] = {}
    loads = []
    for number in range(options.rounds):
        for way in ways if number % 2 == 0 else reversed(ways):
            loads.append(os.getloadavg()[0])
            one, digests[way] = run(folder, older, way, words, options.threads)
            took[way].append(one)
            print(way, {name: round(value, 2) for name, value in one.items()}, flush=True)
    found: dict[str, Any] = {"rounds": options.rounds, "load": [round(min(loads), 1), round(max(loads), 1)]}
    for way in ways:
        row = {f"{name}_a_frame": median(took[way], name, count) for name in ("cpu_seconds", "seconds")}
        if way != OLDER:
            row |= {f"older_to_this_{name}": ratio(took, way, name) for name in ("cpu_seconds", "seconds")}
        found[way] = row | {"peak_mib": int(max(one["peak_mib"] for one in took[way]))}
    return {**found, "default_equals_older": digests[OLDER] == digests["float32"]}


def median(took: Sequence[Mapping[str, float]], name: str, count: int) -> float:
    return round(statistics.median(one[name] for one in took) / count, 4)


def ratio(took: Mapping[str, Sequence[Mapping[str, float]]], way: str, name: str) -> float:
    """Median over rounds of the older code's time to that of a way of today's."""
    pairs = zip(took[OLDER], took[way], strict=True)
    return round(statistics.median(before[name] / now[name] for before, now in pairs), 3)


def run(
    folder: Path, older: Path, way: str, words: Sequence[str], threads: int
) -> tuple[dict[str, float], list[Any]]:
    """The times of one run, and the keys and digests of the entries that it made."""
    checkout = older if way == OLDER else CHECKOUT
    with tempfile.TemporaryDirectory(dir=folder) as place:
        change = [*words, f"cache.roots=[{place}/store]"]
        change += [] if way == OLDER else [f"soft_labels.precision={way}"]
        command = [sys.executable, "-c", RUN, "soft-labels", "--manifest", str(folder / "manifest.json")]
        command += ["--teacher", str(folder / "model.safetensors"), "--device", "cpu"]
        command += ["--config", str(checkout / "config" / "davis.yaml")]
        command += ["--output", f"{place}/results/soft_labels/train/0.json"]
        command += [word for each in change for word in ("--set", each)]
        environment = {
            **{name: value for name, value in os.environ.items() if name != "WECLICK_CACHE"},
            "PYTHONPATH": str(checkout),
            "OMP_NUM_THREADS": str(threads),
            "GOMP_SPINCOUNT": "10000",  # as the verbs set it, since torch is loaded before them here
        }
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{checkout}: failed:\n{done.stderr}")
        made = [
            json.loads(read_meta_file(path)) for path in list_entries(Path(place) / "store", "soft_labels")
        ]
        took = json.loads((Path(place) / "took.json").read_text(encoding="utf-8"))
    return took, sorted([meta["key"], meta["files"]] for meta in made)


def compare_labels(manifest: Manifest, teacher: Path) -> dict[str, Any]:
    """How far labels are from the default's: divergence, the likeliest class, and what is stored."""
    exact = labels_of(manifest, teacher, "float32")
    codec = SOFT_LABEL_CODECS[CODEC]
    stored = [codec.encode(each) for each in exact]
    classes = len(exact[0])
    decoded = [codec.decode(torch.from_numpy(each), classes).numpy() for each in stored]
    found: dict[str, Any] = {f"codec {CODEC} alone": far(exact, decoded)}
    for precision in PRECISIONS[1:]:
        others = labels_of(manifest, teacher, precision)
        differ = [np.mean(codec.encode(b) != a) for a, b in zip(stored, others, strict=True)]
        found[precision] = far(exact, others) | {"stored_values_that_differ": float(f"{np.mean(differ):.3g}")}
    return found


def labels_of(manifest: Manifest, teacher: Path, precision: LabelPrecision) -> list[np.ndarray]:
    """(K, h, w) of every frame."""
    return [each for _, each in Teachers.of([teacher], precision).load(manifest, "cpu")(manifest.clips)]


def far(exact: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> dict[str, float]:
    """Divergence over cells, in nats, and the share of cells with another likeliest class."""
    divergences, changed = [], []
    for one, other in zip(exact, others, strict=True):
        p, q = (np.maximum(each.astype(np.float64), 1e-12) for each in (one, other))
        p, q = p / p.sum(0), q / q.sum(0)
        divergences.append((p * np.log(p / q)).sum(0).ravel())
        changed.append((one.argmax(0) != other.argmax(0)).ravel())
    divergence = np.concatenate(divergences)
    told = {
        "kl_mean": divergence.mean(),
        "kl_99.9_percentile": np.quantile(divergence, 0.999),
        "likeliest_class_changed": np.concatenate(changed).mean(),
    }
    return {name: float(f"{value:.3g}") for name, value in told.items()}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--against", required=True, help="revision of the older code, as git names it")
    add(
        "--teachers",
        nargs="+",
        choices=[*TEACHERS],
        default=[*TEACHERS],
        help="those to measure (default all)",
    )
    add("--rounds", type=int, default=3, help="of runs (default 3)")
    add("--steps", type=int, default=60, help="that fit a head (default 60)")
    add("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all)")
    add("--folder", type=Path, help="on the disk to measure (default: where temporary files go)")
    add("--output", type=Path, default=HERE / "results" / "soft_labels.json", help="JSON to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
