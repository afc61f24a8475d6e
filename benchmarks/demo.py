"""How long does the demo take beside that of an older revision, from nothing to the report?

Both checkouts run `snakemake --cores 8 all` in turn, each time without data, store and results: the README's
first command, as whole processes. A run of `snakemake --cores 8 all` with nothing to do follows. Rounds
alternate their order. The ratio is ours over the older one's, of the time on the wall.

    python benchmarks/demo.py --against 4c800f8
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from older_code import CHECKOUT, git, older_code

from weclick.common.files import read_json
from weclick.common.load import watched_load
from weclick.common.machine import machine, versions

HERE = Path(__file__).resolve().parent
MADE = ("data", "store", "results")
COMMAND = ("-m", "snakemake", "--cores", "8", "all")


def main() -> None:
    options = parse_options()
    took: dict[str, list[dict[str, float]]] = {"older": [], "ours": []}
    with tempfile.TemporaryDirectory(prefix="weclick-demo-", dir=options.folder) as folder:
        ours = Path(folder) / "ours"
        git("clone", "--quiet", str(CHECKOUT), str(ours))
        with older_code(options.against, Path(folder) / "older") as older, watched_load(2) as load:
            for number in range(options.rounds):
                ways = [("older", older), ("ours", ours)]
                for way, checkout in ways if number % 2 == 0 else reversed(ways):
                    took[way].append(run(checkout))
                    print(way, json.dumps(took[way][-1]), flush=True)
    ratios = [a["first_s"] / b["first_s"] for a, b in zip(took["ours"], took["older"], strict=True)]
    report = {
        "machine": machine(),
        "load": load,
        "versions": versions("torch", "snakemake"),
        "against": git("rev-parse", options.against),
        "runs": took,
        "ours_over_older": round(statistics.median(ratios), 3),
        "ours_over_older_runs": [round(ratio, 3) for ratio in ratios],
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("ours over older:", report["ours_over_older"], report["ours_over_older_runs"])
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--against", default="4c800f8", help="the older revision (default 4c800f8)")
    add("--rounds", type=int, default=2, help="runs of each (default 2)")
    add("--folder", type=Path, help="where both checkouts and what they make lie for a while")
    add("--output", type=Path, default=HERE / "results" / "demo.json", help="JSON to write")
    return parser.parse_args()


def run(checkout: Path) -> dict[str, Any]:
    """The demo from nothing, and once more: seconds of each, and mIoU of student and teacher, per cent."""
    for name in MADE:
        shutil.rmtree(checkout / name, ignore_errors=True)
    first, second = timed(checkout), timed(checkout)
    scores = read_json(checkout / "results" / "evaluation" / "metrics.json", "evaluate", "scores")
    miou = {"student": scores["miou"], "teacher": scores["teacher"]["miou"]}
    return {
        "first_s": first,
        "second_s": second,
        **{name: round(100 * each, 1) for name, each in miou.items()},
    }


def timed(checkout: Path) -> float:
    """Seconds of the README's first command in a checkout, whose own code runs."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *COMMAND], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: the demo failed:\n{done.stderr[-4000:]}")
    return round(time.perf_counter() - began, 1)


if __name__ == "__main__":
    main()
