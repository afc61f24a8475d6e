"""What does a job cost whose entries are all in the store, with today's code and with an older one?

The script draws a street and fills a store with its frames, flow and soft labels. It checks out the older
code. Then it runs the jobs again, with both codes by turns. Each finds all its entries, and writes its index.
It gives the processor time of each process (user and system), and the peak of its resident memory as the
kernel counts it. Both codes must write the same index.

    python benchmarks/no_op_jobs.py --against b832034

The older code needs the packages of this environment. Linux only; some minutes on two cores.
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

import yaml
from older_code import CHECKOUT, git, older_code

from weclick.common.machine import machine, versions

HERE = Path(__file__).resolve().parent
VERB = """
import sys
from pathlib import Path
from weclick.cli import main
sys.argv[0] = "weclick"
try:
    main()
finally:
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
NETWORK = {
    "backbone": "mobilenetv2_compact",
    "pretrained": None,
    "channels": 16,
    "head_norm": "group",
    "steps": 2,
    "batch_size": 2,
    "crop": [48, 64],
    "validate_every": 2,
}
TRAIN, VAL = ("--manifest", "manifest/train/0.json"), ("--val-manifest", "manifest/val/0.json")
CPU = ("--device", "cpu")
BEFORE = [
    ("toy",),
    ("manifest", "--split", "train", "--output", TRAIN[1]),
    ("manifest", "--split", "val", "--output", VAL[1]),
    ("clicks", *TRAIN, *CPU, "--output", "clicks.h5"),
    ("frames", *TRAIN, "--output", "frames/train/0.json"),
]
TEACHER = ("teacher", *TRAIN, *VAL, "--clicks", "clicks.h5", "--frames", "frames/train/0.json", *CPU)
JOBS = {
    "frames": ("frames", *TRAIN),
    "flow": ("flow", *TRAIN, *CPU),
    "soft_labels": ("soft-labels", *TRAIN, *CPU, "--teacher", "teacher/model.safetensors"),
}


def main() -> None:
    options, load = parse(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="weclick-no-op-jobs-") as scratch:
        folder = Path(scratch)
        prepare(folder, options.clips)
        revision = git("rev-parse", "--short", options.against)
        with older_code(options.against, folder / "older") as older:
            jobs = measure(folder, {"before": older, "now": CHECKOUT}, options.repeats)
    report = {
        "machine": machine() | {"load_before": round(load, 2), "load_after": round(os.getloadavg()[0], 2)},
        "versions": versions("torch", "numpy"),
        "options": {"against": revision, "clips": options.clips, "repeats": options.repeats},
        "jobs": jobs,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({job: {name: told[name] for name in ("before", "now")} for job, told in jobs.items()}))
    print(f"written to {options.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--against", default="v0.1.0", help="revision of the older code (default v0.1.0)")
    add("--clips", type=int, default=100, help="of training, 6 frames each (default 100)")
    add("--repeats", type=int, default=5, help="runs of each job and code, after one to warm up (default 5)")
    add("--output", type=Path, default=HERE / "results" / "no_op_jobs.json", help="JSON to write")
    return parser.parse_args()


def prepare(folder: Path, clips: int) -> None:
    """Draw the street, and fill the store with today's code."""
    config = {
        "data": {
            "root": "street",
            "target_every": 2,
            "shards": 1,
            "toy": {"height": 64, "width": 96, "frames": 6, "clips": {"train": clips, "val": 1}},
        },
        "clicks": {"min_pixels": 4, "min_pixels_at": None},
        "cache": {"roots": ["store"]},
        "teacher": NETWORK,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for words in [*BEFORE, (*TEACHER, "--output", "teacher")]:
        run(CHECKOUT, folder, *words)
    for job, words in JOBS.items():
        run(CHECKOUT, folder, *words, "--output", f"{job}/first.json")


def measure(folder: Path, codes: dict[str, Path], repeats: int) -> dict[str, Any]:
    """Run the jobs by turns. Returns job -> code -> medians and runs."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {job: {} for job in JOBS}
    for repeat in range(repeats + 1):
        for job, words in JOBS.items():
            for name in list(codes)[:: 1 if repeat % 2 else -1]:
                output = folder / job / f"{name}.json"
                told = run(codes[name], folder, *words, "--output", str(output))
                if output.read_bytes() != (folder / job / "first.json").read_bytes():
                    raise SystemExit(f"{job}: the code {name} writes another index")
                if repeat:  # the first round only warms the caches of files and of compiled Python
                    found[job].setdefault(name, []).append(told)
    return {job: {name: summary(told) for name, told in codes.items()} for job, codes in found.items()}


def summary(told: list[tuple[float, float]]) -> dict[str, Any]:
    cpu, peak = zip(*told, strict=True)
    return {
        "cpu_s": round(statistics.median(cpu), 2),
        "peak_mib": round(statistics.median(peak), 1),
        "cpu_s_runs": [round(each, 2) for each in cpu],
        "peak_mib_runs": [round(each, 1) for each in peak],
    }


def run(code: Path, folder: Path, *words: str) -> tuple[float, float]:
    """Run a verb of a checkout in `folder`. Returns its processor time in seconds, and its peak in MiB.

    The peak is read by the process itself: that of `wait4` counts what its parent held when it started it.
    """
    environment = {**os.environ, "PYTHONPATH": str(code)}
    command = [sys.executable, "-c", VERB, words[0], "--config", "config.yaml", *words[1:]]
    with (folder / "told.txt").open("w+", encoding="utf-8") as told:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=told, stderr=told)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        lines = told.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{code}: weclick {' '.join(words)} failed:\n" + "\n".join(lines))
    return used.ru_utime + used.ru_stime, int(lines[-1]) / 1024


if __name__ == "__main__":
    main()
