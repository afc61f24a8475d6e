"""Do a detector's labels grow more complete while it learns from them (MaskConsist)?

A detector is trained as in the run whose results are given. Beside each batch, the true objects of the same
crops are read. In every step the labels that the instances stage made, and those that MaskConsist made of
them, are compared with the truth: a true object is recalled if a label of its class overlaps it with an IoU
of 0.5, and a label is precise if it so overlaps an object. Shares are over all objects of a stretch of steps.

    snakemake --cores 2 manifest instances --configfile config/maskconsist_toy.yaml \\
        --config seed=0 results=toy/0
    python benchmarks/maskconsist_recall.py toy/0 toy/1 toy/2 --config config/maskconsist_toy.yaml

Each folder holds the results of one seed, whose number is its name. `--set` changes the configuration, as
in `weclick detector`; name the store of the runs with it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from reads import show

from weclick.cli.app import load, open_store
from weclick.common.machine import machine, versions
from weclick.evaluate.instances.truth import read_true_instances
from weclick.manifest import Manifest, read_manifests
from weclick.models.detector import Found, Labels
from weclick.proxy_labels.instances import make_instances
from weclick.proxy_labels.instances_from_masks import FromMasks
from weclick.runs.consist import Consist, Relabelling
from weclick.runs.experiment.statistics import estimate
from weclick.runs.layout import Layout
from weclick.runs.wanted import Wanted
from weclick.store import Store
from weclick.store.index import read_indexes
from weclick.train.build import begin
from weclick.train.data.batch import Batch
from weclick.train.data.stream import Caches
from weclick.train.devices import make_fabric
from weclick.train.loop import fit
from weclick.train.roles import ROLE_NEEDS

HERE = Path(__file__).resolve().parent
OVERLAP = 0.5
STRETCHES = {"first 20 %": (0.0, 0.2), "middle": (0.2, 0.6), "last 40 %": (0.6, 1.0)}


@dataclass
class Tally:
    """Counts of one step."""

    objects: int = 0
    recalled: int = 0
    labels: int = 0
    precise: int = 0

    def add(self, labels: Labels, truth: Labels) -> None:
        """Count one frame. Masks are (N, H, W) bool of the same crop."""
        alike = (overlaps(labels[0], truth[0]) >= OVERLAP) & (labels[1][:, None] == truth[1][None])
        self.objects += len(truth[1])
        self.labels += len(labels[1])
        self.recalled += int(alike.any(0).sum())
        self.precise += int(alike.any(1).sum())


def overlaps(masks: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """IoU (N, M) of masks (N, H, W) and (M, H, W) bool."""
    flat, against = masks.flatten(1).float(), others.flatten(1).float()
    both = flat @ against.T
    return both / (flat.sum(1)[:, None] + against.sum(1)[None] - both).clamp(min=1)


class Watched(Relabelling):
    """Completes labels as in any training, and compares them with the truth of the same crops."""

    truths: Iterator[Batch]

    def __init__(self, *given: Any, **chosen: Any) -> None:
        super().__init__(*given, **chosen)
        self.steps: dict[str, list[Tally]] = {"given": [], "used": []}

    def __call__(self, batch: Batch, step: int) -> Batch:
        """The batch as before, and the truth of its crops beside."""
        self._truth = next(self.truths)
        assert torch.equal(self._truth.images, batch.images), "the truth is of other crops"
        for tallies in self.steps.values():
            if len(tallies) == step:
                tallies.append(Tally())
        return super().__call__(batch, step)

    def _relabel(self, batch: Batch, found: Sequence[Found]) -> list[Labels]:
        labels = super()._relabel(batch, found)
        assert batch.instances is not None
        assert self._truth.instances is not None
        for name, told in (("given", batch.instances), ("used", labels)):
            for one, truth in zip(told, self._truth.instances, strict=True):
                self.steps[name][-1].add(one, truth)
        return labels


@dataclass(frozen=True)
class WatchedConsist(Consist):
    """Starts a `Watched` in the place of a `Relabelling`."""

    def start(self, *, classes: Any, stride_px: int, occlusion: Any, device: Any) -> Watched:
        """What completes batches, and watches."""
        return Watched(self.options, first_step=round(self.options["warmup"] * self.steps), grid_px=stride_px)


def main() -> None:
    options, load_before = parse_options(), os.getloadavg()[0]
    seeds = [watched(Layout(results), int(results.name), options) for results in options.results]
    rows = [
        {"seed": seed["seed"], "labels": name, "steps": stretch, **shares}
        for seed in seeds
        for name, told in seed["shares"].items()
        for stretch, shares in told.items()
    ]
    report = {
        "machine": machine() | {"load_before": round(load_before, 2)},
        "versions": versions("torch", "torchvision", "numpy"),
        "config": options.config.name,
        "overlap": OVERLAP,
        "seeds": seeds,
        "used_minus_given": {stretch: gained(seeds, stretch) for stretch in STRETCHES},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(rows, "labels of a detector against the truth, per cent")
    print(json.dumps(report["used_minus_given"]))
    print(f"written to {options.output}")


def gained(seeds: Sequence[dict[str, Any]], stretch: str) -> dict[str, Any]:
    """What MaskConsist adds to the labels it is given, in points, over the seeds."""

    def gain(told: dict[str, Any], figure: str) -> float:
        return float(told["used"][stretch][figure] - told["given"][stretch][figure])

    return {
        figure: estimate([gain(seed["shares"], figure) for seed in seeds])
        for figure in ("recall", "precision")
    }


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("results", type=Path, nargs="+", help="folders of runs with instances, one of each seed")
    add("--config", type=Path, required=True, help="configuration of the runs")
    add("--set", action="append", default=[], help="KEY=VALUE that changes it; repeat")
    add("--threads", type=int, default=2)
    add("--output", type=Path, default=HERE / "results" / "maskconsist_recall.json", help="JSON to write")
    return parser.parse_args()


def watched(run: Layout, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train the detector of a run, and tell recall and precision of its labels."""
    torch.set_num_threads(options.threads)
    chosen = load(str(options.config), [*options.set, f"seed={seed}"], "detector")
    splits, shards = ("train", "val"), chosen["data"]["shards"] if "data" in chosen else 1
    train, val = (read_manifests(run.shards("manifest", split, shards)) for split in splits)
    kinds = ("frames", "instances", "flow")
    indexes = {kind: run.shards(kind, "train", shards) for kind in kinds}
    store = open_store(chosen)
    caches = Caches.of(store, read_indexes(indexes, ROLE_NEEDS["detector"].flow_need))
    recipe = Wanted(chosen).recipe("detector", train=train, val=val, caches=caches)
    recipe = replace(recipe, in_loop=WatchedConsist(chosen["maskconsist"], chosen["detector"]["steps"]))
    fabric = make_fabric("cpu", recipe.options["precision"], 1)
    with tempfile.TemporaryDirectory() as folder:
        true = true_caches(caches, train, [*chosen["cache"]["roots"], Path(folder) / "store"])
        truth = begin(replace(recipe, caches=true), fabric).stream
        begun = begin(recipe, fabric)
        assert isinstance(begun.complete, Watched)
        steps, parts = recipe.options["steps"], recipe.options["accumulate"]
        begun.complete.truths = truth.batches(0, steps * parts, fabric.device)
        fit(
            fabric,
            begun.model,
            begun.stream,
            begun.losses,
            shares=begun.objective.shares,
            options={**recipe.options, "validate_every": 0, "checkpoint_every": 0},
            seed=seed,
            folder=Path(folder) / str(seed),
            key="",
            validate=None,
            complete=begun.complete,
        )
    told = begun.complete.steps
    return {"seed": seed, "steps": steps, "shares": {name: stretches(told[name]) for name in told}}


def true_caches(caches: Caches, train: Manifest, roots: Sequence[Path | str]) -> Caches:
    """The same caches with the true objects as instances, which are written into the last root."""
    store = Store([Path(root) for root in roots])
    keys = make_instances(train, FromMasks(train, read_true_instances), store=store)
    return replace(caches, store=store, instances=keys)


def stretches(steps: Sequence[Tally]) -> dict[str, dict[str, float]]:
    """Recall and precision of each stretch of steps, per cent, and labels and objects a step."""
    told = {}
    for name, (first, last) in STRETCHES.items():
        part = steps[round(first * len(steps)) : round(last * len(steps))]
        objects, labels = (sum(getattr(one, what) for one in part) for what in ("objects", "labels"))
        told[name] = {
            "recall": round(100 * sum(one.recalled for one in part) / max(objects, 1), 2),
            "precision": round(100 * sum(one.precise for one in part) / max(labels, 1), 2),
            "labels": round(labels / max(len(part), 1), 2),
            "objects": round(objects / max(len(part), 1), 2),
        }
    return told


if __name__ == "__main__":
    main()
