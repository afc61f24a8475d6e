"""What do frames that exchange labels (MaskConsist) cost in a detector's training step?

A detector trains on pairs of crops with the labels of a finished run, with and without MaskConsist in turn.
The time of a step is from one batch to the next. `exchange` is the part that expands, matches, transfers and
combines labels; the paper calls it a small overhead. A step with MaskConsist also looks at its detections,
which is the second half of the RoI heads once more, on the same features.

    snakemake --cores 2 manifest frames flow instances --configfile config/maskconsist_davis.yaml \\
        --config 'data={shrink: 1}' 'instances={source: masks}' results=full
    python benchmarks/maskconsist_step.py full --config config/maskconsist_davis.yaml \\
        --set 'detector.crop=[480, 854]'

The network begins from its ImageNet weights and finds up to `detector.detections` things in each frame;
`detections` tells how many it found in a pair, on average. The largest share is of the step with most to
match.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from reads import show

from weclick.cli.app import keep_freed_memory, load, open_store
from weclick.common.machine import machine, versions
from weclick.manifest import read_manifests
from weclick.models.detector import Found, Labels
from weclick.runs.consist import Consist, Relabelling
from weclick.runs.layout import Layout
from weclick.runs.wanted import Wanted
from weclick.store.index import read_indexes
from weclick.train.build import begin
from weclick.train.data.batch import Batch
from weclick.train.data.stream import Caches
from weclick.train.devices import make_fabric
from weclick.train.loop import fit
from weclick.train.recipe import Recipe
from weclick.train.roles import ROLE_NEEDS

HERE = Path(__file__).resolve().parent
SKIPPED = 2
"""The first steps of a training also warm up, and are not counted."""


@dataclass
class Times:
    """Seconds of a training's steps, and what was matched."""

    begun: list[float] = field(default_factory=list)
    exchange: list[float] = field(default_factory=list)
    found: list[int] = field(default_factory=list)


class Timed(Relabelling):
    """Completes labels as in any training, or leaves them as they are, and tells how long it took."""

    times: Times

    def __call__(self, batch: Batch, step: int) -> Batch:
        """The batch as before; a step begins."""
        self.times.begun.append(time.perf_counter())
        return super().__call__(batch, step)

    def _relabel(self, batch: Batch, found: Sequence[Found]) -> list[Labels]:
        began = time.perf_counter()
        labels = super()._relabel(batch, found)
        self.times.exchange.append(time.perf_counter() - began)
        self.times.found.append(sum(len(one.classes) for one in found))
        return labels


@dataclass(frozen=True)
class TimedConsist(Consist):
    """Starts a `Timed` in the place of a `Relabelling`."""

    times: Times = field(default_factory=Times)
    exchanges: bool = True

    def start(self, *, classes: Any, stride_px: int, occlusion: Any, device: Any) -> Timed:
        """What completes batches, and takes the time."""
        first_step = 0 if self.exchanges else self.steps
        timed = Timed(self.options, first_step=first_step, grid_px=stride_px)
        timed.times = self.times
        return timed


def main() -> None:
    options, load_before = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the verb does
    recipe = recipe_of(Layout(options.results), options)
    taken: dict[bool, list[Times]] = {True: [], False: []}
    for number in range(options.rounds):
        for exchanges in sorted(taken, reverse=bool(number % 2)):
            taken[exchanges].append(trained(recipe, exchanges, options))
    row = told(taken) | {"crop": list(recipe.options["crop"]), "pairs": recipe.options["batch_size"]}
    report = {
        "machine": machine() | {"load_before": round(load_before, 2), "threads_used": options.threads},
        "versions": versions("torch", "torchvision", "numpy", "scipy"),
        "config": options.config.name,
        "set": options.set,
        "backbone": recipe.options["backbone"],
        "steps": options.steps,
        "rounds": options.rounds,
        **row,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show([row], "a step of a detector's training")
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("results", type=Path, help="folder of a run with instances")
    add("--config", type=Path, required=True, help="configuration of the run")
    add("--set", action="append", default=[], help="KEY=VALUE that changes it; repeat")
    add("--steps", type=int, default=8, help="of each training (default 8)")
    add("--rounds", type=int, default=3, help="trainings with and without (default 3 of each)")
    add("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all)")
    add("--output", type=Path, default=HERE / "results" / "maskconsist_step.json", help="JSON to write")
    return parser.parse_args()


def recipe_of(run: Layout, options: argparse.Namespace) -> Recipe:
    """The recipe of the run's detector, for a few steps."""
    chosen = load(str(options.config), [*options.set, f"detector.steps={options.steps}"], "detector")
    shards = chosen["data"]["shards"] if "data" in chosen else 1
    train, val = (read_manifests(run.shards("manifest", split, shards)) for split in ("train", "val"))
    indexes = {kind: run.shards(kind, "train", shards) for kind in ("frames", "instances", "flow")}
    caches = Caches.of(open_store(chosen), read_indexes(indexes, ROLE_NEEDS["detector"].flow_need))
    return Wanted(chosen).recipe("detector", train=train, val=val, caches=caches)


def trained(recipe: Recipe, exchanges: bool, options: argparse.Namespace) -> Times:
    """Train once, and take the time of its steps."""
    assert isinstance(recipe.in_loop, Consist), "maskconsist.weight is 0"
    timed = TimedConsist(recipe.in_loop.options, options.steps, exchanges=exchanges)
    recipe = replace(recipe, in_loop=timed)
    fabric = make_fabric("cpu", recipe.options["precision"], 1)
    begun = begin(recipe, fabric)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            fabric,
            begun.model,
            begun.stream,
            begun.losses,
            shares=begun.objective.shares,
            options={**recipe.options, "validate_every": 0, "checkpoint_every": 0},
            seed=0,
            folder=Path(folder) / "run",
            key="",
            validate=None,
            complete=begun.complete,
        )
    timed.times.begun.append(time.perf_counter())
    return timed.times


def told(taken: dict[bool, list[Times]]) -> dict[str, Any]:
    """Medians over all counted steps, and the share of the exchange in its own step."""
    seconds = {
        exchanges: [end - start for times in some for start, end in list(pairwise(times.begun))[SKIPPED:]]
        for exchanges, some in taken.items()
    }
    exchange = [took for times in taken[True] for took in times.exchange[SKIPPED:]]
    step, plain = (statistics.median(seconds[exchanges]) for exchanges in (True, False))
    shares = [part / whole for part, whole in zip(exchange, seconds[True], strict=True)]
    return {
        "step_s": round(step, 3),
        "plain_step_s": round(plain, 3),
        "step_over_plain": round(step / plain, 2),
        "exchange_s": round(statistics.median(exchange), 4),
        "exchange_share": round(statistics.median(shares), 4),
        "largest_share": round(max(shares), 4),
        "detections": round(statistics.mean(n for times in taken[True] for n in times.found), 1),
    }


if __name__ == "__main__":
    main()
