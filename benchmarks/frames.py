"""Is the stage `frames` as fast as in an older revision? It digests frames as it reads.

The script makes up clips of 512x1024 px: a street-like smooth picture with noise, as PNG and as JPEG. It
checks out the older code. Both codes then pack the same clips in turn, in processes of their own, into an
empty store each time. A pair of runs follows directly upon each other, and the order within the pairs
alternates, so what else the machine does strikes both. It also times the decoding of single frames, as
trainings with `frames.pack: false` do it.

    python benchmarks/frames.py --against v0.1.0

The older code needs the packages of this environment. About five minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from older_code import CHECKOUT, git, older_code
from PIL import Image

from weclick.common.machine import machine, versions

HERE = Path(__file__).resolve().parent
SIZE = (512, 1024)
CLIPS = {"png": {}, "jpg": {"quality": 95}}
"""Suffix -> options of Pillow; a clip of each."""

RUN = """
import json, resource, sys, time
from pathlib import Path
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.manifest.read import read_frame
from weclick.store import Store
root, store, clip, pack = sys.argv[1:]
data = {"name": "folder", "root": root, "val_clips": ["val"]}
manifest = build_manifest(open_dataset(data), "train", 0, 1, reach_frames=10**6)
clips = tuple(c for c in manifest.clips if c.id == clip)
manifest = type(manifest)(**{**vars(manifest), "clips": clips})
cpu = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
wall, used = time.perf_counter(), cpu()
if pack == "pack":
    pack_frames(manifest, chunk_px=256, store=Store([Path(store)]))
else:
    for t in range(len(clips[0].frames)):
        read_frame(manifest, clips[0], t)
print(json.dumps({"seconds": time.perf_counter() - wall, "cpu_seconds": cpu() - used}))
"""


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="frames-", dir=options.folder) as scratch:
        folder = Path(scratch)
        revision = git("rev-parse", "--short", options.against)
        with older_code(options.against, folder / "older") as older:
            sizes = draw(folder / "data", options.frames)
            found = {
                f"{what}, {clip}": compare(folder, older, clip, what, options.pairs)
                for what in ("pack", "decode")
                for clip in CLIPS
            }
    report = {
        "machine": machine(),
        "versions": versions("pillow", "numpy", "zarr"),
        "options": {"frames": options.frames, "size_px": SIZE, "pairs": options.pairs, "against": revision},
        "bytes_a_frame": sizes,
        "today_to_older": found,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def compare(folder: Path, older: Path, clip: str, what: str, pairs: int) -> dict[str, Any]:
    """Ratios of today's code to the older one's: median and quartiles over pairs, in wall and CPU time."""
    ratios: dict[str, list[float]] = {"seconds": [], "cpu_seconds": []}
    seconds: list[float] = []
    for number in range(pairs + 1):
        order = (older, CHECKOUT) if number % 2 else (CHECKOUT, older)
        took = {checkout: run(folder, checkout, clip, what) for checkout in order}
        if number:  # the first pair warms the caches of disk and interpreter
            for name, kept in ratios.items():
                kept.append(took[CHECKOUT][name] / took[older][name])
            seconds.append(took[CHECKOUT]["seconds"])
    return {
        **{name: [round(q, 4) for q in statistics.quantiles(kept, n=4)] for name, kept in ratios.items()},
        "median_seconds_today": round(statistics.median(seconds), 3),
    }


def run(folder: Path, checkout: Path, clip: str, what: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as store:
        command = [sys.executable, "-c", RUN, str(folder / "data"), store, clip, what]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{checkout}: failed:\n{done.stderr}")
    return json.loads(done.stdout)


def draw(root: Path, frames: int) -> dict[str, int]:
    """A clip for each suffix, and one to hold out. Returns the mean bytes of a frame."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.normal(size=(16, 32, 3)), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    sizes = {}
    for clip, suffix, count in (*((name, name, frames) for name in CLIPS), ("val", "png", 1)):
        for kind in ("frames", "labels"):
            (root / kind / clip).mkdir(parents=True)
        for t in range(count):
            image = 128 + 50 * np.roll(smooth, 4 * t, 1) + rng.normal(0, 3, smooth.shape)
            picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
            picture.save(root / "frames" / clip / f"{t:05d}.{suffix}", **CLIPS[suffix])
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(root / "labels" / clip / "00000.png")
        files = list((root / "frames" / clip).iterdir())
        sizes[clip] = sum(path.stat().st_size for path in files) // len(files)
    (root / "classes.yaml").write_text("classes: [{name: all, color: [0, 0, 0]}]\n")
    return sizes


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--against", required=True, help="revision of the older code, as git names it")
    add("--frames", type=int, default=64, help="of each clip (default 64)")
    add("--pairs", type=int, default=11, help="of runs (default 11)")
    add("--folder", type=Path, help="on the disk to measure (default: where temporary files go)")
    add("--output", type=Path, default=HERE / "results" / "frames.json", help="JSON to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
