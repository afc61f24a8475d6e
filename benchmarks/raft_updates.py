"""What does it save that RAFT brings only its last flow to the size of the image?

torchvision's `forward` brings the flow of every update to that size; `last_flow` does it once. Both take
turns in one process, by its processor time, and must give the same bits. The weights are drawn at random,
which makes no difference to the time.

    python benchmarks/raft_updates.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torchvision.models import optical_flow

from weclick.common.machine import machine, versions
from weclick.flow.raft import last_flow

HERE = Path(__file__).resolve().parent
UPDATES = 12


def main() -> None:
    options, load = parse(), os.getloadavg()[0]
    torch.manual_seed(0)
    pair = [torch.rand(1, 3, *options.size) * 2 - 1 for _ in range(2)]
    report = {
        "machine": machine() | {"load_before": round(load, 2)},
        "versions": versions("torch", "torchvision"),
        "options": {"size_px": options.size, "updates": UPDATES, "rounds": options.rounds},
        "table": {model: compare(model, pair, options.rounds) for model in ("small", "large")},
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report["table"], indent=1))
    print(f"written to {options.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", type=int, nargs=2, default=[192, 256], help="height and width, px (default 192 256)")
    add("--rounds", type=int, default=5, help="runs of each, after one to warm up (default 5)")
    add("--output", type=Path, default=HERE / "results" / "raft_updates.json", help="JSON to write")
    return parser.parse_args()


@torch.no_grad()
def compare(model: str, pair: list[torch.Tensor], rounds: int) -> dict[str, Any]:
    network = getattr(optical_flow, f"raft_{model}")(weights=None).eval()
    ways = {
        "all": lambda: network(*pair, num_flow_updates=UPDATES)[-1],
        "last": lambda: last_flow(network, *pair, UPDATES),
    }
    if not torch.equal(ways["all"](), ways["last"]()):
        raise SystemExit(f"{model}: the two ways give other bits")
    runs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            way()
            runs[name].append(time.process_time() - began)
    medians = {f"{name}_s": round(statistics.median(each), 3) for name, each in runs.items()}
    listed = {f"{name}_s_runs": [round(one, 3) for one in each] for name, each in runs.items()}
    return {**medians, "saved": round(1 - medians["last_s"] / medians["all_s"], 3), **listed}


if __name__ == "__main__":
    main()
