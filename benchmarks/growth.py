"""Does a sample cost more in a large data set than in a small one, and how much memory does a clip take?

One clip of small frames is drawn and multiplied: each copy has entries of its own, with hard links as data
files. Every size is read by a process of its own: one epoch, in which each file is checked, and then some
hundred samples in the order of a training. `cpu_ms` is the processor time of a sample, which other work on
the machine lengthens less than the wall time. Memory of a clip is the growth of the process from the
smallest size to this one, so what every process takes does not count. A manifest of that many clips with
30 frames each is read by a process of its own, too.

    PYTHONPATH=. python benchmarks/growth.py

Linux only. It takes some minutes, and 300,000 files of the system's temporary folder.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from reads_data import make_clip, make_manifest, make_store, multiply, open_stream

from weclick.common.load import watched_load
from weclick.common.machine import machine, versions
from weclick.manifest import Clip, Frame, read_manifests, write_manifest
from weclick.store import Store
from weclick.train.data.stream import Caches

HERE = Path(__file__).resolve().parent
SIZE, CROP, SCALE = (128, 256), 96, (0.75, 1.5)
FRAMES_OF_A_SNIPPET = 30
SHARDS = 8  # a single file of 10,000 such clips is larger than what is read
KEYS, KINDS = "keys.json", ("frames", "flow", "soft_labels")


def main() -> None:
    options, load_before = parse_options(), os.getloadavg()[0]
    if options.read:
        print(json.dumps(read(options.folder, options.read, options.samples)))
        return
    if options.manifest:
        print(json.dumps(read_a_manifest(options.folder, options.manifest)))
        return
    drawn = tempfile.TemporaryDirectory(prefix="weclick-growth-", dir=options.folder)
    with drawn as folder, watched_load(1) as load:
        rows = measure(Path(folder), sorted(options.clips), options.samples)
    report = {
        "machine": machine() | {"load_before": round(load_before, 2), "load": load},
        "versions": versions("torch", "tensorstore"),
        "options": {"samples": options.samples, "size_px": SIZE, "crop_px": CROP},
        "table": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--clips", type=int, nargs="+", default=[10, 1000, 10_000], help="sizes (default 10 1000 10000)")
    add("--samples", type=int, default=600, help="timed after the first epoch (default 600)")
    add("--folder", type=Path, help="where the store is drawn (default: the system's)")
    add("--output", type=Path, default=HERE / "results" / "growth.json")
    add("--read", type=int, help=argparse.SUPPRESS)
    add("--manifest", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(folder: Path, sizes: list[int], samples: int) -> list[dict[str, Any]]:
    """A row for each size."""
    _, caches = multiply(*make_store(folder, SIZE, 1), sizes[-1])
    (folder / KEYS).write_text(json.dumps({kind: dict(getattr(caches, kind)) for kind in KINDS}))
    clips = [make_snippet(number) for number in range(sizes[-1])]
    rows = []
    for size in sizes:
        for shard in range(SHARDS):
            write_manifest(make_manifest(folder, clips[shard:size:SHARDS]), folder / f"{size}.{shard}.json")
        found = child(folder, "--read", size, "--samples", samples)
        found |= child(folder, "--manifest", size)
        first = rows[0] if rows else found
        grown = found["resident_kib"] - first["resident_kib"]
        told = {"kib_a_clip": round(grown / (size - first["clips"]), 1)} if rows else {}
        rows.append(found | told)
        print(f"{size} clips: {rows[-1]}", file=sys.stderr)
    return rows


def make_snippet(number: int) -> Clip:
    """A clip of Cityscapes' kind: the frames before a target."""
    clip = make_clip(f"copy {number}", SIZE)
    frames = tuple(
        Frame(f"{t}", t, f"png/{number}/{t}.png", f"{number:032d}{t:032d}")
        for t in range(FRAMES_OF_A_SNIPPET)
    )
    return replace(clip, frames=frames, targets=(FRAMES_OF_A_SNIPPET - 1,))


def child(folder: Path, *words: object) -> dict[str, Any]:
    """What this script prints in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def read(folder: Path, clips: int, samples: int) -> dict[str, Any]:
    """Read an epoch of so many clips, and then some samples."""
    named = [make_clip(f"copy {number}", SIZE) for number in range(clips)]
    keys = json.loads((folder / KEYS).read_text(encoding="utf-8"))
    own = {kind: {clip.id: keys[kind][clip.id] for clip in named} for kind in KINDS}
    del keys
    caches = Caches(Store([folder / "store"]), **own)
    stream = open_stream(make_manifest(folder, named), caches, CROP, SCALE)
    for step in range(clips):
        stream.read(stream.plan(step))
    took = []
    for step in range(clips, clips + samples):
        began = time.process_time()
        stream.read(stream.plan(step))
        took.append(1000 * (time.process_time() - began))
    gc.collect()
    return {"clips": clips, "cpu_ms": round(statistics.median(took), 3), "resident_kib": resident_kib()}


def read_a_manifest(folder: Path, clips: int) -> dict[str, Any]:
    before = resident_kib()
    manifest = read_manifests([folder / f"{clips}.{shard}.json" for shard in range(SHARDS)])
    assert len(manifest.clips) == clips
    return {"manifest_mib": round((resident_kib() - before) / 1024, 1)}


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


if __name__ == "__main__":
    main()
