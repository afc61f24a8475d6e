"""How fast are the students here? Runs `weclick bench student` and keeps its figures.

It measures the four students at 1024x2048 and 352x480, in the modes that suit the machine. Run nothing else.

    python benchmarks/student.py                 # on a CPU about five minutes
    python benchmarks/student.py --device cuda   # all modes, torch.compile and CUDA graphs among them
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

from weclick.evaluate.bench.student import STUDENTS, bench_students, network_options
from weclick.evaluate.bench.student_table import show

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    networks = {name: network_options(name) for name in STUDENTS}
    result = bench_students(networks, device=options.device, seconds=options.seconds)
    show(result)
    path = RESULTS / ("student_cuda.json" if options.device.startswith("cuda") else "student.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all)")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each network at each size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
