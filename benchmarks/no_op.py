"""What does `snakemake --cores 8 all` cost when nothing is to be done, for a data set as large as Cityscapes?

The script makes up 2,975 training clips of 30 frames (89,250 files) and 500 validation clips in the layout of
Cityscapes. Every image is a tiny PNG with its own content. The real stage makes the manifests. Indexes,
models and report are files with the right names; `snakemake --touch` declares them done.

    python benchmarks/no_op.py

It measures three runs: the manifest stage, the run that does nothing, and a dry run after a clip was added;
it also lists the jobs of the dry run. It measures wall time, CPU time, the largest resident set of one
process, and the largest sum over the tree of processes, sampled twenty times a second. The kernel's cache of
folders stays warm between the runs. Linux only; about ten minutes, 1.5 GiB of disk, no GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import yaml

from weclick.common.machine import machine, versions

HERE = Path(__file__).resolve().parent
CITIES, SNIPPET, ANNOTATED = 18, 30, 19
"""Cityscapes has 18 training cities. The twentieth of 30 frames is annotated."""

CHECKOUT = ("weclick", "pipeline", "profiles", "data_schema", "config", "Snakefile")
TRAINING = ("model.safetensors", "model.json", "metrics.jsonl")


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="weclick-no-op-", dir=options.folder) as folder:
        project = make_project(Path(folder), options)
        draw(project / "data/train", range(options.clips))
        draw(project / "data/val", range(options.val_clips))
        report = {
            "machine": machine() | {"load_before": round(load, 2)},
            "versions": versions("snakemake"),
            "options": {"clips": options.clips, "val_clips": options.val_clips, "shards": options.shards},
            "manifest_stage": measure(project, "manifest"),
            "manifest_stage_digests_known": measure(project, "manifest", "--forceall"),
        }
        make_the_rest(project)
        measure(project, "all", "--touch", "--forceall")
        report["nothing_to_do"] = [measure(project, "all") for _ in range(options.repeats)]
        draw(project / "data/train", [options.clips])
        report["dry_run_after_a_new_clip"] = measure(project, "all", "--dry-run")
    for name, told in report.items():
        print(name, json.dumps(told))
    assert all(each["nothing_to_do"] for each in report["nothing_to_do"])
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--clips", type=int, default=2975, help="of training (default 2975)")
    add("--val-clips", type=int, default=500, help="of validation (default 500)")
    add("--shards", type=int, default=16, help="data.shards (default 16, as in config/cityscapes.yaml)")
    add("--repeats", type=int, default=3, help="of the run that does nothing (default 3)")
    add("--folder", type=Path, help="on the disk to measure (default: where temporary files go)")
    add("--output", type=Path, default=HERE / "results" / "no_op.json", help="JSON to write")
    return parser.parse_args()


def make_project(folder: Path, options: argparse.Namespace) -> Path:
    """Make a separate checkout, so that an edit in the meantime changes nothing."""
    for name in CHECKOUT:
        source = HERE.parent / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    config = yaml.safe_load((folder / "config/cityscapes.yaml").read_text(encoding="utf-8"))
    config["data"] |= {"root": "data/cityscapes", "shards": options.shards}
    (folder / "config/no_op.yaml").write_text(yaml.safe_dump(config))
    return folder


def draw(split: Path, clips: Iterable[int]) -> None:
    """Make clips of a split, at `data/cityscapes/<kind>/<split>/<city>/<city>_<clip>_<frame>_<kind>.png`."""
    root, name = split.parent / "cityscapes", split.name
    for clip in clips:
        city = f"city{clip % CITIES:02d}"
        stem = f"{city}_{clip // CITIES:06d}"
        for frame in range(SNIPPET):
            folder = root / "leftImg8bit_sequence" / name / city
            save(folder / f"{stem}_{frame:06d}_leftImg8bit.png", f"{name} {clip} {frame}")
        for kind in ("labelIds", "instanceIds"):
            folder = root / "gtFine" / name / city
            save(folder / f"{stem}_{ANNOTATED:06d}_gtFine_{kind}.png", f"{name} {clip} {kind}")


def save(path: Path, seed: str) -> None:
    noise = np.frombuffer(hashlib.sha256(seed.encode()).digest(), np.uint8).reshape(4, 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", noise)[1].tobytes())


def make_the_rest(project: Path) -> None:
    """Write what the later stages would leave. Keys and contents are made up, but have the true length."""
    results = project / "results"
    for split in ("train", "val"):
        for path in sorted((results / "manifest" / split).glob("*.json")):
            clips = [clip["id"] for clip in json.loads(path.read_text(encoding="utf-8"))["clips"]]
            for kind in ("frames", "flow", "soft_labels"):
                entries = {clip: hashlib.sha256(f"{kind} {clip}".encode()).hexdigest() for clip in clips}
                text = json.dumps({"kind": kind, "entries": entries}, indent=1)
                write(results / kind / split / path.name, text)
    write(results / "clicks/train.h5", "clicks" * 100_000)
    for name in (f"{role}/{file}" for role in ("teacher", "student") for file in TRAINING):
        write(results / name, "weights" * 1_000_000 if name.endswith("tensors") else "{}")
    for name in ("evaluation/metrics.json", "report.html", "report.json", "run.lock.json"):
        write(results / name, "{}")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def measure(project: Path, *words: str) -> dict[str, Any]:
    """Run snakemake, and measure its time and memory and read what it says."""
    command = [sys.executable, "-m", "snakemake", "--cores", "8", *words, "--configfile", "config/no_op.yaml"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(project), "PATH": path}
    began = time.perf_counter()
    with (project / "log").open("w") as log:
        started = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        sums: list[int] = []
        watcher = threading.Thread(target=watch, args=(started.pid, sums))
        watcher.start()
        _, status, usage = os.wait4(started.pid, 0)
        seconds = time.perf_counter() - began
        started.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
    told = (project / "log").read_text(encoding="utf-8")
    assert started.returncode == 0, told
    return {
        "command": " ".join(["snakemake", *command[3:]]),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "largest_process_mib": round(usage.ru_maxrss / 2**10, 1),
        "largest_sum_mib": round(max(sums) / 2**20, 1),
        "nothing_to_do": "Nothing to be done" in told,
        "jobs": jobs(told),
    }


def watch(pid: int, sums: list[int]) -> None:
    """Collect the resident bytes of a process and its descendants until it ends."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        while top.status() != psutil.STATUS_ZOMBIE:
            sums.append(sum(map(resident, [top, *top.children(recursive=True)])))
            time.sleep(0.05)


def resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def jobs(told: str) -> dict[str, int]:
    """Rule -> jobs, from the table that snakemake prints."""
    table = told.partition("Job stats:")[2].partition("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


if __name__ == "__main__":
    main()
