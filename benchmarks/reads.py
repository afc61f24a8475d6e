"""How long does a sample take from the disk to the batch, compared with other ways to keep the same arrays?

A sample is one of Cityscapes training: 3 frames of 1024x2048, 2 flows with their masks and 3 soft labels of
19 classes on the grid of stride 4, through one crop of 768 px at a random scale of 0.5 to 2. All readers get
the same plan and return the same arrays, windows as stored, which then go through the same `assemble`. They
take turns sample by sample, in one process for each number of cores. The first pass over all samples is
separate (`first_read_ms`), since weclick then checks the whole content of each file. The second pass is like
all later epochs. The report gives medians of wall time, and means of the busy time of all cores together,
which other programs on the machine hardly change.

    pip install hdf5plugin litdata mosaicml-streaming zstd
    python benchmarks/reads.py

Loaders that are not installed are left out. Without hdf5plugin, HDF5 chunks are not compressed as ours are.

Then the script measures the parts of a read and other ways to read; which codecs and chunk sizes suit the
arrays, in the page cache and out of it; whether memory grows over 2,000 steps; and whether a sample's time
depends on the number of clips. Linux only; about six minutes and 4 GiB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import torch
import zarr
from reads_data import (
    FRAMES,
    PHOTOMETRIC,
    SIZE,
    STRIDE,
    described,
    folder_bytes,
    make_store,
    multiply,
    open_stream,
)
from reads_peers import PEERS, Windows, disk_mib, is_installed, open_peers, write_peers
from reads_profile import codec_rows, profile_read
from reads_ways import way_rows
from rich.console import Console
from rich.table import Table
from zarr.codecs import BloscCodec

import weclick.train.data.assemble
from weclick.cli.app import keep_freed_memory
from weclick.common.machine import machine, versions
from weclick.manifest import Manifest
from weclick.train.data.assemble import Read, assemble
from weclick.train.data.sample import Sample
from weclick.train.data.stream import Caches, Stream

HERE = Path(__file__).resolve().parent
CROP, SCALE = 768, (0.5, 2.0)
CPU = torch.device("cpu")
PACKAGES = ("numpy", "tensorstore", "zarr", "h5py", "opencv-python-headless", "torch")
LOADERS = ("hdf5plugin", "litdata", "mosaicml-streaming", "numcodecs")


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    if options.measure:
        keep_freed_memory()  # as a training does
        print(json.dumps(MEASURES[options.measure](options)))
        return
    with tempfile.TemporaryDirectory(prefix="weclick-reads-", dir=options.folder) as folder:
        options.folder = Path(folder)
        manifest, caches = make_store(options.folder, SIZE, options.clips)
        remember(options.folder, manifest, caches)
        left_out = write_peers(options.folder, manifest, caches)
        print(*left_out, sep="\n")
        report = {
            "machine": machine() | {"load_before": round(load, 2)},
            "versions": versions(*PACKAGES, *(name for name in LOADERS if is_installed(name))),
            "options": {"samples": options.samples, "crop_px": CROP, "scale": SCALE, **described(manifest)},
            "left_out": left_out,
        }
        report |= measured(options)
        report["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    for part, title in TITLES.items():
        if part in report:
            show(report[part], title)
    if "a_read" in report:
        show(report["a_read"]["arrays"], "the parts of a read, one core, CPU ms")
        show([report["a_read"]["whole"]], "the whole of it")
    if "growth" in report:
        show(report["growth"]["by_clips"], "a sample's time by number of clips (small frames)")
    print(f"written to {options.output}")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for: each measurement has processes of its own."""
    cores = sorted({1, min(2, os.cpu_count() or 1)})
    found: dict[str, Any] = {}
    if "readers" in options.only:
        compared = {n: run_apart("readers", n, options) for n in cores}
        found["kept"] = kept_rows(options)
        found["table"] = [row for n in cores for row in reader_rows(n, compared[n])]
        found["where_the_time_goes"] = [{"cores": n, **compared[n]["parts"]} for n in cores]
    for measure, name in (("profile", "a_read"), ("ways", "ways"), ("codecs", "codecs")):
        if measure in options.only:
            found[name] = run_apart(measure, 1, options)
    for measure, name in (("chunks", "chunks_of_frames"), ("growth", "growth")):
        if measure in options.only:
            found[name] = run_apart(measure, cores[-1], options)
    return found


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--clips", type=int, default=4, help="drawn (default 4)")
    add("--samples", type=int, default=15, help="read by every reader (default 15)")
    add("--steps", type=int, default=2000, help="over which memory is watched (default 2000)")
    add("--only", nargs="+", choices=MEASURES, default=list(MEASURES), help="measure only these")
    add("--folder", type=Path, help="on the disk to measure (default: where temporary files go)")
    add("--output", type=Path, default=HERE / "results" / "reads.json", help="JSON to write")
    add("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    add("--cores", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- readers ----------------------------------------------------------------------------------------------


def compare_readers(options: argparse.Namespace) -> dict[str, Any]:
    manifest, caches = remembered(options.folder)
    stream = open_stream(manifest, caches, CROP, SCALE)
    plans = [stream.plan(step)[0] for step in range(options.samples)]
    readers = {"weclick": lambda sample: windows_of(stream.read([sample])[0])}
    readers |= open_peers(options.folder, caches)
    runs: dict[str, list[float]] = {name: [] for name in readers}
    busy: dict[str, list[float]] = {name: [] for name in readers}
    for sample in [*plans, *plans]:
        found = {}
        for name, read in readers.items():
            began, used = time.perf_counter(), time.process_time()
            found[name] = read(sample)
            runs[name].append(1000 * (time.perf_counter() - began))
            busy[name].append(1000 * (time.process_time() - used))
        check_same(found)
    return {
        "first_ms": {name: times[: len(plans)] for name, times in runs.items()},
        "read_ms": {name: times[len(plans) :] for name, times in runs.items()},
        "cpu_ms": {name: times[len(plans) :] for name, times in busy.items()},
        "assemble_ms": [1000 * assemble_seconds(stream, sample) for sample in plans],
        "parts": time_parts(stream, plans),
    }


def windows_of(read: Read) -> Windows:
    names = {"frames": "rgb", "soft_labels": "probabilities"}
    return {names.get(kind, kind): part.data.numpy() for kind, part in read.parts.items()}


def kept_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The disk that each reader's files take, after all were read."""
    frames = options.clips * FRAMES
    kept = {"weclick": "sharded Zarr"} | {name: peer.keeps for name, peer in PEERS.items() if not peer.lacks}
    return [
        {"reader": name, "kept": what, "mib_a_frame": round(disk_mib(options.folder, name, frames), 2)}
        for name, what in kept.items()
    ]


def check_same(found: dict[str, Windows]) -> None:
    for name, windows in found.items():
        for array, window in windows.items():
            if not np.array_equal(window, found["weclick"][array]):
                raise SystemExit(f"{name} reads another {array} than weclick")


def assemble_seconds(stream: Stream, sample: Sample) -> float:
    (read,) = stream.read([sample])
    began = time.perf_counter()
    assemble([read], stride_px=STRIDE, mask_bits=PHOTOMETRIC, device=CPU)
    return time.perf_counter() - began


def time_parts(stream: Stream, plans: list[Sample]) -> dict[str, float]:
    """The time of each step on a sample's way, medians over samples, ms."""
    parts: dict[str, list[float]] = {}

    def note(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        parts.setdefault(name, []).append(1000 * (time.perf_counter() - began))
        return result

    for step, sample in enumerate(plans):
        note("plan", lambda step=step: stream.plan(step))
        pending = note("begin_reads", lambda sample=sample: stream._begin(sample))
        done = {kind: note(f"read_{kind}", part.finish) for kind, part in pending.items()}
        reads = [Read(sample, done)]
        note("images", lambda reads=reads: weclick.train.data.assemble._images(reads, CPU))
        note("flow", lambda reads=reads: weclick.train.data.assemble._flows(reads, STRIDE, PHOTOMETRIC, CPU))
        note("teacher", lambda reads=reads: weclick.train.data.assemble._teacher(reads, STRIDE, CPU))
    return {name: round(statistics.median(times), 2) for name, times in parts.items()}


def reader_rows(cores: int, compared: dict[str, Any]) -> list[dict[str, Any]]:
    ready = statistics.median(compared["assemble_ms"])
    medians = {name: statistics.median(times) for name, times in compared["read_ms"].items()}
    busy = {name: statistics.mean(times) for name, times in compared["cpu_ms"].items()}
    return [
        {
            "cores": cores,
            "reader": name,
            "read_ms": round(median, 2),
            "read_over_weclick": round(median / medians["weclick"], 2),
            "first_read_ms": round(statistics.median(compared["first_ms"][name]), 2),
            "read_cpu_ms": round(busy[name], 2),
            "cpu_over_weclick": round(busy[name] / busy["weclick"], 2),
            "read_and_assemble_ms": round(median + ready, 1),
            "both_over_weclick": round((median + ready) / (medians["weclick"] + ready), 2),
            "runs_ms": [round(each, 2) for each in compared["read_ms"][name]],
        }
        for name, median in medians.items()
    ]


# --- chunks of frames -------------------------------------------------------------------------------------

COMPRESSORS = {
    "none": None,
    "lz4": BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle"),
    "lz4 bitshuffle": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
    "zstd bitshuffle": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
}


def compare_chunks(options: argparse.Namespace) -> list[dict[str, Any]]:
    manifest, _ = remembered(options.folder)
    clip = manifest.clips[0].id
    frames = np.load(options.folder / "memmap" / f"{clip}-rgb.npy", mmap_mode="r")
    rng = np.random.default_rng(0)
    return [
        chunk_row(options.folder / "chunks", frames, chunk, name, rng)
        for chunk in (64, 128, 256, 512)
        for name in COMPRESSORS
    ]


def chunk_row(
    folder: Path, frames: np.ndarray, chunk: int, codec: str, rng: np.random.Generator
) -> dict[str, Any]:
    path = folder / f"{chunk}-{codec.replace(' ', '-')}"
    array = zarr.create_array(
        str(path),
        shape=frames.shape,
        chunks=(1, chunk, chunk, 3),
        shards=(1, *frames.shape[1:]),
        dtype="uint8",
        compressors=COMPRESSORS[codec],
    )
    array[:] = np.asarray(frames)
    context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
    opened = ts.open(spec, open=True, read=True, context=context).result()
    row: dict[str, Any] = {
        "chunk_px": chunk,
        "codec": codec,
        "mib_a_frame": round(folder_bytes(path) / 2**20 / FRAMES, 2),
    }
    for crop in (360, 768):
        for scale in (0.5, 1.0, 2.0):
            sides = [min(side, round(crop / scale)) for side in SIZE]
            for state in ("warm", "cold"):
                times = []
                for _ in range(5):
                    y, x = (
                        int(rng.integers(0, full - side + 1)) for full, side in zip(SIZE, sides, strict=True)
                    )
                    if state == "cold":
                        drop_from_page_cache(path)
                    window = opened.oindex[[0, 2, 4], y : y + sides[0], x : x + sides[1]]
                    times.append(1000 * seconds(lambda window=window: window.read().result()))
                row[f"{state}_{crop}_x{scale:g}"] = round(statistics.median(times), 2)
    return row


def drop_from_page_cache(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


# --- growth -----------------------------------------------------------------------------------------------


def measure_growth(options: argparse.Namespace) -> dict[str, Any]:
    """Use small frames: thousands of entries and steps take only seconds, and growth shows more clearly."""
    folder = options.folder / "small"
    manifest, caches = make_store(folder, (128, 256), 1)
    rows, memory = [], {}
    for clips in (10, 100, 1000, 3000):
        many = multiply(manifest, caches, clips)
        stream = open_stream(*many, 96, (0.75, 1.5))
        for step in range(clips):  # one epoch, to check every file once
            stream.read(stream.plan(step))
        times = []
        for step in range(clips, clips + 600):
            began = time.perf_counter()
            stream.read(stream.plan(step))
            times.append(1000 * (time.perf_counter() - began))
        rows.append({"clips": clips, "sample_ms": round(statistics.median(times), 3)})
    watched = open_stream(*multiply(manifest, caches, 1000), 96, (0.75, 1.5), batch_size=4)
    for step, batch in enumerate(watched.batches(0, options.steps, CPU), start=1):
        if step in {options.steps * part // 5 for part in range(1, 6)}:
            memory[step] = round(resident_bytes() / 2**20, 1)
        del batch
    return {"by_clips": rows, "resident_mib_after_steps": memory}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def profile_reads(options: argparse.Namespace) -> dict[str, Any]:
    manifest, caches = remembered(options.folder)
    stream = open_stream(manifest, caches, CROP, SCALE)
    return profile_read(stream, caches, [stream.plan(step)[0] for step in range(options.samples)])


def compare_ways(options: argparse.Namespace) -> list[dict[str, Any]]:
    manifest, caches = remembered(options.folder)
    stream = open_stream(manifest, caches, CROP, SCALE)
    return way_rows(options.folder, caches, [stream.plan(step)[0] for step in range(options.samples)])


def compare_codecs(options: argparse.Namespace) -> list[dict[str, Any]]:
    return codec_rows(options.folder / "memmap", remembered(options.folder)[0].clips[0].id)


MEASURES = {
    "readers": compare_readers,
    "profile": profile_reads,
    "codecs": compare_codecs,
    "ways": compare_ways,
    "chunks": compare_chunks,
    "growth": measure_growth,
}


# --- the run ----------------------------------------------------------------------------------------------


def run_apart(measure: str, cores: int, options: argparse.Namespace) -> Any:
    """One measurement in a separate process that may use only `cores` cores."""
    command = [sys.executable, __file__, "--measure", measure, "--cores", str(cores)]
    for key in ("folder", "samples", "steps"):
        command += [f"--{key}", str(getattr(options, key))]
    threads = {"OMP_NUM_THREADS": str(cores), "BLOSC_NTHREADS": str(cores), "GOMP_SPINCOUNT": "10000"}
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | threads,
        preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores]),
    )
    return json.loads(done.stdout)


def remember(folder: Path, manifest: Manifest, caches: Caches) -> None:
    keys = {kind: getattr(caches, kind) for kind in ("frames", "flow", "soft_labels")}
    (folder / "keys.json").write_text(json.dumps({"size": SIZE, "clips": len(manifest.clips), "keys": keys}))


def remembered(folder: Path) -> tuple[Manifest, Caches]:
    from reads_data import make_clip, make_manifest, with_digests

    from weclick.store import Store

    told = json.loads((folder / "keys.json").read_text(encoding="utf-8"))
    names, size = map(str, range(told["clips"])), tuple(told["size"])
    clips = [with_digests(make_clip(name, size), folder) for name in names]
    return make_manifest(folder, clips), Caches(Store([folder / "store"]), **told["keys"])


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


TITLES = {
    "kept": "what lies on the disk",
    "table": "readers",
    "where_the_time_goes": "where the time of a sample goes, ms",
    "ways": "other ways to read the same windows, one core",
    "codecs": "codecs of a whole frame or pair, one core, CPU ms",
    "chunks_of_frames": "chunks of frames: ms for 3 windows",
}


def show(rows: list[dict[str, Any]], title: str) -> None:
    hidden = ("runs_ms", "_360_x0.5", "_360_x1", "_360_x2")
    shown = [{key: value for key, value in row.items() if not key.endswith(hidden)} for row in rows]
    table = Table(*(key.replace("_", " ") for key in shown[0]), title=title)
    for row in shown:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
