"""What does each stage cost with today's code and with an older one?

The script checks out the older code. It draws one street and runs each stage with both codes by turns, each
time into an empty store. It prints the processor time of each stage (user and system, of the whole process)
and the ratio, today's to the older one's, pair by pair: their median, and their geometric mean with a 95 %
interval. `ratio_of_least` compares the cheapest run of each, which other work on the machine disturbs least.

    python benchmarks/stage_costs.py --against v0.1.0

The older code needs the packages of this environment. About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from older_code import CHECKOUT, git, older_code
from scipy.stats import t

from weclick.common.machine import machine, versions

HERE = Path(__file__).resolve().parent
VERB = "import sys; from weclick.cli import main; sys.argv[0] = 'weclick'; main()"

NETWORK = {
    "backbone": "mobilenetv2_compact",
    "pretrained": None,
    "channels": 32,
    "head_norm": "group",
    "steps": 40,
    "batch_size": 2,
    "crop": [128, 192],
    "optimizer": "adamw",
    "learning_rate": 1e-3,
}
CONFIG = {
    "data": {
        "target_every": 2,
        "toy": {"height": 384, "width": 640, "frames": 12, "clips": {"train": 6, "val": 2}},
    },
    "window": {"frames": 3, "max_gap_frames": 2, "direction": "both"},
    "device": "cpu",
    "teacher": NETWORK,
    "student": NETWORK,
}
TRAIN, VAL = ("--manifest", "manifest/train/0.json"), ("--val-manifest", "manifest/val/0.json")
GIVEN = (*TRAIN, *VAL, "--clicks", "clicks.h5", "--frames", "frames.json", "--device", "cpu")
NETWORKS = ("--teacher", "teacher/model.safetensors", "--student", "student/model.safetensors")
STAGES: dict[str, tuple[str, ...]] = {
    "manifest": ("manifest", "--split", "train", "--output", "manifest/train/0.json"),
    "manifest val": ("manifest", "--split", "val", "--output", "manifest/val/0.json"),
    "clicks": ("clicks", *TRAIN, "--output", "clicks.h5"),
    "frames": ("frames", *TRAIN, "--output", "frames.json"),
    "flow": ("flow", *TRAIN, "--output", "flow.json"),
    "teacher": ("teacher", *GIVEN, "--output", "teacher"),
    "soft-labels": ("soft-labels", *TRAIN, *NETWORKS[:2], "--output", "labels.json"),
    "student": (
        *("student", *GIVEN, "--flow", "flow.json", "--soft-labels", "labels.json"),
        *("--output", "student"),
    ),
    "flow val": ("flow", "--manifest", VAL[1], "--output", "flow_val.json"),
    "evaluate": (
        *("evaluate", "--manifest", VAL[1], "--flow", "flow_val.json"),
        *(*NETWORKS, "--device", "cpu", "--output", "evaluation"),
    ),
}


def main() -> None:
    options, load = parse(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="stage-costs-") as scratch:
        folder = Path(scratch)
        revision = git("rev-parse", "--short", options.against)
        with older_code(options.against, folder / "older") as older:
            pairs = measure(folder, {"before": older, "now": CHECKOUT}, options.repeats)
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("torch", "numpy", "zarr"),
        "against": revision,
        "repeats": options.repeats,
        "stages": {name: summary(name, seconds) for name, seconds in pairs.items()},
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {options.output}")


def measure(folder: Path, codes: dict[str, Path], repeats: int) -> dict[str, dict[str, list[float]]]:
    """Run all stages by turns. Returns stage -> code -> processor seconds of each repeat."""
    run(codes["before"], folder, folder, "toy")
    found: dict[str, dict[str, list[float]]] = {stage: {name: [] for name in codes} for stage in STAGES}
    for repeat in range(repeats + 1):
        for stage, words in STAGES.items():
            for name in list(codes)[:: 1 if repeat % 2 else -1]:
                seconds = run(codes[name], folder, folder / f"{name}{repeat}", *words)
                if repeat:  # the first round only warms the caches of files and of compiled Python
                    found[stage][name].append(seconds)
        print(f"round {repeat} of {repeats} done", file=sys.stderr)
    return found


def run(code: Path, data: Path, folder: Path, *words: str) -> float:
    """Run a verb of a checkout in `folder`. Returns the processor time of its process, seconds."""
    folder.mkdir(exist_ok=True)
    config = CONFIG | {
        "data": {**CONFIG["data"], "root": str(data / "street")},
        "cache": {"roots": [str(folder / "store")]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", VERB, words[0], "--config", "config.yaml", *words[1:]]
    with (folder / "told.txt").open("w+", encoding="utf-8") as told:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=told, stderr=told)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            raise SystemExit(f"{code}: weclick {' '.join(words)} failed:\n{told.read()}")
    return used.ru_utime + used.ru_stime


def summary(stage: str, seconds: dict[str, list[float]]) -> dict[str, float]:
    ratios = [now / before for now, before in zip(seconds["now"], seconds["before"], strict=True)]
    told = {
        "before_cpu_s": round(statistics.median(seconds["before"]), 3),
        "now_cpu_s": round(statistics.median(seconds["now"]), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_least": round(min(seconds["now"]) / min(seconds["before"]), 3),
        **mean_ratio(ratios),
    }
    print(f"{stage:<14}" + "  ".join(f"{name} {value:.3f}" for name, value in told.items()))
    return told


def mean_ratio(ratios: list[float]) -> dict[str, float]:
    """Geometric mean of the ratios with the 95 % interval of a t-test on their logarithms."""
    logs = [math.log(ratio) for ratio in ratios]
    mean, spread = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    reach = float(t.ppf(0.975, len(logs) - 1)) * spread
    found = {"mean_ratio": mean, "mean_ratio_from": mean - reach, "mean_ratio_to": mean + reach}
    return {name: round(math.exp(value), 3) for name, value in found.items()}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", required=True, help="revision of the older code, as git names it")
    parser.add_argument("--repeats", type=int, default=7, help="of each stage with each code (default 7)")
    parser.add_argument(
        "--output", type=Path, default=HERE / "results/stage_costs.json", help="JSON to write"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
