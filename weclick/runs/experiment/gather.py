"""Reads what the trials of an experiment left: scores, costs, and the facts of their data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from weclick.clicks.table import read_clicks
from weclick.common import words
from weclick.common.digest import canonical_json
from weclick.common.files import read_json
from weclick.common.stages import CARD, INDEXED, SCORES
from weclick.manifest import Manifest, read_manifests
from weclick.runs.experiment.lineage import Job
from weclick.runs.experiment.plan import Plan, Trial
from weclick.store import Store, read_index

_OF_SCORES = ("miou", "mean_accuracy", "pixel_accuracy", "temporal_consistency")


class Gathered:
    """The files of an experiment. Those that trials share are read once.

    Args:
        plan: of the experiment.
        store: holds the entries; their sizes are told.
    """

    def __init__(self, plan: Plan, store: Store):
        self._plan, self._store = plan, store
        self._manifest = cache(self._read_manifest)
        self._bytes = cache(self._entry_bytes)

    def figures(self, data: str) -> dict[tuple[str, int], dict[str, float | None]]:
        """(arm, seed) -> figure -> value of every trial on a data set, see `summary.FIGURES`.

        Raises:
            MissingFileError, InputError: a file of a trial is missing or damaged; its stage is named.
        """
        return {(trial.arm, trial.seed): self._figures(trial) for trial in self._of(data)}

    def facts(self, data: str) -> dict[str, Any]:
        """What the first arm of a data set learned from and was scored on."""
        first = self._of(data)[0]
        train, val = self._manifest(first.network, "train"), self._manifest(first.evaluation, "val")
        clicks = first.network.fed_by.get("clicks", ())
        split = first.network.config["data"]["train"]
        return {
            "dataset": val.dataset,
            "classes": list(val.classes.names),
            "train": _split(train),
            "val": _split(val),
            "clicks": sum(len(read_clicks(self._plan.home(job).clicks(split))) for job in clicks),
            "scored_sha256": _scored_digest(val),
            "devices": sorted({str(self._scores(trial).get("device", "?")) for trial in self._of(data)}),
        }

    def notes(self, data: str) -> Iterator[str]:
        """Reasons against a comparison of the arms of a data set."""
        scored: dict[str, str] = {}
        for trial in self._of(data):
            digest = _scored_digest(self._manifest(trial.evaluation, "val"))
            scored.setdefault(digest, trial.arm)
        if len(scored) > 1:
            arms = ", ".join(scored.values())
            yield f"The arms are not scored on the same frames ({arms} differ): do not compare their scores."

    def _of(self, data: str) -> list[Trial]:
        return [trial for trial in self._plan.trials if trial.data == data]

    def _scores(self, trial: Trial) -> Mapping[str, Any]:
        return read_json(self._plan.home(trial.evaluation).scores, "evaluate", SCORES)

    def _card(self, job: Job) -> Mapping[str, Any]:
        return read_json(self._plan.home(job).card(job.stage), job.stage, CARD)

    def _figures(self, trial: Trial) -> dict[str, float | None]:
        scores, card = self._scores(trial), self._card(trial.network)
        labels = trial.network.fed_by.get("soft_labels", ())
        teachers = {job.digest: job for each in labels for job in each.fed_by.get("teacher", ())}
        known = {name: scores[name] for name in _OF_SCORES}
        known["on_targets"] = scores.get("on_targets", {}).get("miou")
        known |= {name: card[name] for name in ("train_seconds", "steps")}
        return {
            **{name: value if words.known(value) else None for name, value in known.items()},
            "teacher_seconds": sum(self._card(job)["train_seconds"] for job in teachers.values()),
            "cache_bytes": sum(
                self._bytes(job, stage.kind)
                for stage in INDEXED
                for job in trial.network.fed_by.get(stage.name, ())
            ),
        }

    def _entry_bytes(self, job: Job, kind: str) -> int:
        """Bytes of the entries that the index of a job names; what is no longer there counts nothing."""
        data = job.config["data"]
        paths = self._plan.home(job).shards(job.stage, data["train"], data["shards"])
        found = (self._store.find(kind, key) for key in read_index(paths, kind).values())
        return sum(entry.meta["entry_bytes"] for entry in found if entry)

    def _read_manifest(self, job: Job, split: str) -> Manifest:
        """The manifest that fed a job; `split` is a key of the section `data`."""
        (made,) = job.fed_by["manifest"]
        data = made.config["data"]
        name = data["train"] if split == "train" else data["val"]
        return read_manifests(self._plan.home(made).shards("manifest", name, data["shards"]))


def _split(manifest: Manifest) -> dict[str, Any]:
    sizes = sorted({clip.size for clip in manifest.clips})
    return {
        "name": manifest.split,
        "clips": len(manifest.clips),
        "frames": sum(len(clip.frames) for clip in manifest.clips),
        "targets": sum(len(clip.targets) for clip in manifest.clips),
        "scored": sum(len(clip.scored) for clip in manifest.clips),
        "sizes_px": [list(size) for size in sizes[:10]],
    }


def _scored_digest(manifest: Manifest) -> str:
    """A digest of the labels that networks are scored on, and of what is read of them."""
    labels = [
        [clip.id, clip.frames[t].number, clip.frames[t].label_digest or clip.frames[t].digest]
        for clip in manifest.clips
        for t in clip.scored
    ]
    told = canonical_json([manifest.classes.names, manifest.shrink, sorted(labels)])
    return hashlib.sha256(told.encode()).hexdigest()
