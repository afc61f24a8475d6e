"""What does a training pay for reading stacks of flow?

Batches of one run are read and assembled with stacks and without, in turn, and a step of the network of two
streams follows: forward, losses, backward. `share` is the time that the stacks add over the time
of a step without them. A run with threads hides most of it, since batches are read ahead.

    python benchmarks/stack_reading.py --results results --batches 12
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

from weclick.cli.app import keep_freed_memory
from weclick.clicks import read_clicks
from weclick.clicks.tags import read_tags
from weclick.common.config import load_config
from weclick.common.machine import machine, versions
from weclick.manifest import read_manifests
from weclick.runs.layout import Layout
from weclick.runs.wanted import Wanted
from weclick.store import Store
from weclick.store.index import read_indexes
from weclick.train.build import begin
from weclick.train.data.batch import Batch
from weclick.train.data.stream import Caches
from weclick.train.devices import make_fabric
from weclick.train.recipe import Recipe

HERE = Path(__file__).resolve().parent
ACCEPTED_SHARE = 0.1


def main() -> None:
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as a training does
    table = [measured(options, motion) for motion in ("raw", "residual")]
    report = {
        "machine": machine() | {"load_before": round(load, 2), "threads": options.threads},
        "versions": versions("torch", "tensorstore"),
        "table": table,
        "accepted_share": ACCEPTED_SHARE,
        "accepted": all(row["share"] <= ACCEPTED_SHARE for row in table),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["table"], indent=1))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config", default="config/two_stream_davis.yaml", help="of the run")
    add("--root", required=True, help="root of its store")
    add("--results", type=Path, default=Path("results"), help="folder of a run of two_stream")
    add("--batches", type=int, default=12, help="batches of each kind (default 12)")
    add("--threads", type=int, default=2, help="of torch (default 2)")
    add("--output", type=Path, default=HERE / "results" / "stack_reading.json", help="JSON to write")
    return parser.parse_args()


def measured(options: argparse.Namespace, motion: str) -> dict[str, Any]:
    """Medians over the batches, s: reading without stacks, what stacks add, and a step.

    Targets are read once before. So `first_epoch_adds_s` holds the search for the camera in each flow.
    """
    begun, plain = (started(options, motion, fusion) for fusion in ("early", "none"))
    model = begun.model.train().to(memory_format=torch.channels_last)
    epoch = range(-begun.epoch, 0)
    times: dict[str, list[float]] = {"with": [], "without": [], "step": []}
    first: list[float] = []
    for step in [*epoch, *range(options.batches)]:
        began = time.perf_counter()
        seen = begun.batch(step % begun.epoch)
        middle = time.perf_counter()
        plain.batch(step % begun.epoch)
        end = time.perf_counter()
        if step < 0:
            first.append((middle - began) - (end - middle))
            continue
        times["with"].append(middle - began)
        times["without"].append(end - middle)
        terms = begun.losses(model(*seen.select(model.inputs)), seen, 0)
        torch.stack([*terms.values()]).sum().backward()
        times["step"].append(time.perf_counter() - end)
    added = statistics.median(a - b for a, b in zip(times["with"], times["without"], strict=True))
    without, step_s = (statistics.median(times[name]) for name in ("without", "step"))
    return {
        "motion": motion,
        "batch_size": begun.recipe.options["batch_size"],
        "crop_px": begun.recipe.options["crop"],
        "flows": begun.recipe.stack.length if begun.recipe.stack else 0,
        "without_s": round(without, 4),
        "first_epoch_adds_s": round(statistics.median(first), 4),
        "stacks_add_s": round(added, 4),
        "step_s": round(step_s, 4),
        "share": round(added / (without + step_s), 4),
    }


class Started:
    """A training that is about to begin: its network, its losses, and its batches by number."""

    def __init__(self, recipe: Recipe):
        begun = begin(recipe, make_fabric("cpu", "32", 1))
        self.recipe, self.model, self.losses, self._stream = recipe, begun.model, begun.losses, begun.stream
        targets = sum(len(clip.targets) for clip in recipe.manifest.clips)
        self.epoch = -(-targets // recipe.options["batch_size"])

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        return next(iter(self._stream.batches(step, step + 1, torch.device("cpu"))))


def started(options: argparse.Namespace, motion: str, fusion: str) -> Started:
    """The training of a run, with another motion and fusion."""
    config = load_config(options.config, [f"flow.motion={motion}", f"student.fusion={fusion}"])
    layout, train = Layout(options.results), config["data"]["train"]
    wanted, shards = Wanted(config), config["data"]["shards"]
    indexes = {stage: layout.shards(stage, train, shards) for stage in wanted.caches_of("student")}
    listed = read_manifests(layout.shards("manifest", train, shards))
    recipe = wanted.recipe(
        "student",
        train=listed,
        val=listed,
        clicks=read_clicks(layout.clicks(train)),
        tags=read_tags(layout.tags(train)),
        caches=Caches.of(Store([options.root]), read_indexes(indexes)),
    )
    return Started(recipe)


if __name__ == "__main__":
    main()
