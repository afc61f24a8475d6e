"""How long does a sample take from the disk to the batch, compared with other ways to keep the same arrays?

A sample is one of Cityscapes training: 3 frames of 1024x2048, 2 flows with their masks and 3 soft labels of
19 classes on the grid of stride 4, through one crop of 768 px at a random scale of 0.5 to 2. All readers get
the same plan and return the same arrays, windows as stored, which then go through the same `assemble`. They
take turns sample by sample, in one process for each number of cores. The first pass over all samples is
separate (`first_read_ms`), since weclick then checks the whole content of each file. The second pass is like
all later epochs. The report gives medians of wall time and of the busy time of all cores together.

    python benchmarks/reads.py

Then the script measures which codec and chunk size suit frames, in the page cache and out of it; whether
memory grows over 2,000 steps; and whether a sample's time depends on the number of clips. With hdf5plugin
installed, HDF5 chunks are compressed as ours are. Linux only; about five minutes and 3 GiB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import tensorstore as ts
import torch
import zarr
from reads_data import (
    FRAMES,
    KINDS,
    PHOTOMETRIC,
    STRIDE,
    described,
    folder_bytes,
    make_store,
    multiply,
    open_stream,
    tar_codec,
    write_peers,
)
from rich.console import Console
from rich.table import Table
from zarr.codecs import BloscCodec

import weclick.train.data.assemble
from weclick.common.machine import machine, versions
from weclick.geometry import crop_window
from weclick.manifest import Manifest
from weclick.train.data.assemble import Read, assemble
from weclick.train.data.sample import Sample
from weclick.train.data.stream import Caches, Stream

HERE = Path(__file__).resolve().parent
SIZE, CROP, SCALE = (1024, 2048), 768, (0.5, 2.0)
CPU = torch.device("cpu")
PACKAGES = ("numpy", "tensorstore", "zarr", "h5py", "opencv-python-headless", "torch")

Windows = dict[str, np.ndarray]


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    if options.measure:
        print(json.dumps(MEASURES[options.measure](options)))
        return
    with tempfile.TemporaryDirectory(prefix="weclick-reads-", dir=options.folder) as folder:
        options.folder = Path(folder)
        manifest, caches = make_store(options.folder, SIZE, options.clips)
        remember(options.folder, manifest, caches)
        codec = write_peers(options.folder, manifest, caches)
        cores = sorted({1, min(2, os.cpu_count() or 1)})
        compared = {n: run_apart("readers", n, options) for n in cores}
        report = {
            "machine": machine() | {"load_before": round(load, 2)},
            "versions": versions(*PACKAGES),
            "options": {"samples": options.samples, "crop_px": CROP, "scale": SCALE, **described(manifest)},
            "hdf5_chunks": codec,
            "table": [row for n in cores for row in reader_rows(n, compared[n])],
            "where_the_time_goes": [{"cores": n, **compared[n]["parts"]} for n in cores],
            "chunks_of_frames": run_apart("chunks", cores[-1], options),
            "growth": run_apart("growth", cores[-1], options),
        }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    show(report["table"], "readers")
    show(report["where_the_time_goes"], "where the time of a sample goes, ms")
    show(report["chunks_of_frames"], "chunks of frames: ms for 3 windows")
    show(report["growth"]["by_clips"], "a sample's time by number of clips (small frames)")
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--clips", type=int, default=4, help="drawn (default 4)")
    add("--samples", type=int, default=15, help="read by every reader (default 15)")
    add("--steps", type=int, default=2000, help="over which memory is watched (default 2000)")
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
    readers |= {name: peer(options.folder, caches) for name, peer in PEERS.items()}
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


def check_same(found: dict[str, Windows]) -> None:
    for name, windows in found.items():
        for array, window in windows.items():
            if not np.array_equal(window, found["weclick"][array]):
                raise SystemExit(f"{name} reads another {array} than weclick")


def wanted(sample: Sample) -> Iterator[tuple[str, list[int], tuple[slice, slice]]]:
    """(array, steps, rows and columns) of a sample."""
    for name in KINDS:
        steps = list(sample.neighbours) if name in ("flow", "valid") else [sample.target, *sample.neighbours]
        stride = 1 if name == "rgb" else STRIDE
        y, x, rows, columns = crop_window(sample.crop, sample.clip.size, source_stride=stride)
        yield name, steps, (slice(y, y + rows), slice(x, x + columns))


def read_steps(open_array: Callable[[str, str], Any]) -> Callable[[Sample], Windows]:
    """A reader that reads windows step by step, from arrays that stay open."""
    opened = cache(open_array)

    def read(sample: Sample) -> Windows:
        found = {}
        for name, steps, (rows, columns) in wanted(sample):
            array = opened(sample.clip.id, name)
            window = (rows, columns) if name in ("rgb", "valid") else (slice(None), rows, columns)
            found[name] = np.stack([array[(t, *window)] for t in steps])
        return found

    return read


def zarr_python(folder: Path, caches: Caches) -> Callable[[Sample], Windows]:
    def open_array(clip: str, name: str) -> Any:
        entry = caches.store.get(KINDS[name], getattr(caches, KINDS[name])[clip])
        return zarr.open_array(entry.path / name, mode="r")

    return read_steps(open_array)


def hdf5(folder: Path, caches: Caches) -> Callable[[Sample], Windows]:
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  (registers its codecs)
    files = cache(lambda clip: h5py.File(folder / f"{clip}.h5", "r", rdcc_nbytes=0))
    return read_steps(lambda clip, name: files(clip)[name])


def memmap(folder: Path, caches: Caches) -> Callable[[Sample], Windows]:
    return read_steps(lambda clip, name: np.load(folder / f"{clip}-{name}.npy", mmap_mode="r"))


def npz_png(folder: Path, caches: Caches) -> Callable[[Sample], Windows]:
    """A file for every frame and pair, decoded as a whole."""

    def load(clip: str, name: str, t: int) -> np.ndarray:
        if name == "rgb":
            return cv2.cvtColor(cv2.imread(str(folder / "png" / clip / f"{t}.png")), cv2.COLOR_BGR2RGB)
        if name == "probabilities":
            return np.load(folder / f"{clip}-{t}-labels.npz")["arr_0"]
        return np.load(folder / f"{clip}-{t}-flow.npz")[name]

    return whole_steps(load)


def tar_shards(folder: Path, caches: Caches) -> Callable[[Sample], Windows]:
    """Whole members, compressed as our chunks are. An index in memory finds them."""
    shards = cache(lambda clip: tarfile.open(folder / f"{clip}.tar"))  # noqa: SIM115  (kept open)
    dtypes = {"flow": np.int16}
    size = SIZE[0] // STRIDE, SIZE[1] // STRIDE

    def load(clip: str, name: str, t: int) -> np.ndarray:
        data = tar_codec(name).decode(shards(clip).extractfile(f"{t}.{name}").read())
        shape = (*SIZE, 3) if name == "rgb" else size if name == "valid" else (-1, *size)
        return np.frombuffer(data, dtypes.get(name, np.uint8)).reshape(shape)

    return whole_steps(load)


def whole_steps(load: Callable[[str, str, int], np.ndarray]) -> Callable[[Sample], Windows]:
    return lambda sample: {
        name: np.stack([load(sample.clip.id, name, t)[..., rows, columns, :] for t in steps])
        if name == "rgb"
        else np.stack([load(sample.clip.id, name, t)[..., rows, columns] for t in steps])
        for name, steps, (rows, columns) in wanted(sample)
    }


PEERS = {"memmap": memmap, "hdf5": hdf5, "zarr-python": zarr_python, "tar": tar_shards, "npz+png": npz_png}


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
    return [
        {
            "cores": cores,
            "reader": name,
            "read_ms": round(median, 2),
            "read_over_weclick": round(median / medians["weclick"], 2),
            "first_read_ms": round(statistics.median(compared["first_ms"][name]), 2),
            "read_cpu_ms": round(statistics.median(compared["cpu_ms"][name]), 2),
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
    frames = np.load(options.folder / f"{clip}-rgb.npy", mmap_mode="r")
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


MEASURES = {"readers": compare_readers, "chunks": compare_chunks, "growth": measure_growth}


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


def show(rows: list[dict[str, Any]], title: str) -> None:
    hidden = ("runs_ms", "_360_x0.5", "_360_x1", "_360_x2")
    shown = [{key: value for key, value in row.items() if not key.endswith(hidden)} for row in rows]
    table = Table(*(key.replace("_", " ") for key in shown[0]), title=title)
    for row in shown:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
