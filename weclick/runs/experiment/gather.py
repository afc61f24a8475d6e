"""Reads what the trials of an experiment left: scores, costs, and the facts of their data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from weclick.clicks.table import read_clicks
from weclick.common import words
from weclick.common.digest import canonical_json
from weclick.common.files import read_json
from weclick.common.stages import CARD, INDEXED, SCORES
from weclick.manifest import Manifest, read_manifests
from weclick.manifest.annotation import annotated
from weclick.manifest.click_table import ClickTable
from weclick.runs.experiment.costs import annotation_seconds
from weclick.runs.experiment.lineage import Job
from weclick.runs.experiment.plan import Plan, Trial
from weclick.store import Store, keys_in, read_needs

_OF_SCORES = ("miou", "mean_accuracy", "pixel_accuracy", "temporal_consistency", "click_accuracy")


class Gathered:
    """The files of an experiment. Those that trials share are read once.

    Args:
        plan: of the experiment.
        store: holds the entries; their sizes are told.
    """

    def __init__(self, plan: Plan, store: Store):
        self._plan, self._store = plan, store
        self._manifest = cache(self._read_manifest)
        self.supervised = cache(self._count_supervised)
        self._bytes = cache(self._entry_bytes)

    def figures(self, data: str) -> dict[tuple[str, int], dict[str, float | None]]:
        """(arm, seed) -> figure -> value of every trial on a data set, see `summary.FIGURES`.

        Raises:
            MissingFileError, InputError: a file of a trial is missing or damaged; its stage is named.
        """
        return {(trial.arm, trial.seed): self._figures(trial) for trial in self._of(data)}

    def facts(self, data: str) -> dict[str, Any]:
        """What the first arm of a data set may learn from, and what it was scored on."""
        trials = self._of(data)
        train, val = self._split(trials[0].network, "train"), self._split(trials[0].evaluation, "val")
        return {
            "dataset": val.dataset,
            "classes": list(val.classes.names),
            "train": _counts(train),
            "val": _counts(val),
            "clicks": len(self._clicks(trials[0].network)),
            "clicks_by": _clicks_by(train, trials[0].network.config),
            "annotation_seconds": annotation_seconds(
                train,
                self._clicks(trials[0].network),
                {**trials[0].network.config["annotation"], "minutes": None},
                "clicks",
            ),
            "annotation": _times(trials[0].network.config),
            "trainings": self._trainings(trials),
            "scored_sha256": _scored_digest(val),
            "devices": sorted({str(self._scores(trial).get("device", "?")) for trial in trials}),
        }

    def _trainings(self, trials: list[Trial]) -> dict[str, Any]:
        """How many trainings some trials took, teachers included and each once, and their seconds."""
        networks = {self._plan.home(job).card(job.stage) for job in (trial.network for trial in trials)}
        labels = (job for trial in trials for job in trial.network.fed_by.get("soft_labels", ()))
        teachers = {path for job in labels for path in teacher_cards(self._plan, job)}
        cards = [read_json(path, "student", CARD) for path in sorted(networks | teachers)]
        seconds = [card["train_seconds"] for card in cards if words.known(card["train_seconds"])]
        return {"count": len(cards), "seconds": sum(seconds)}

    def notes(self, data: str) -> Iterator[str]:
        """Reasons against a comparison of the arms of a data set."""
        scored: dict[str, str] = {}
        for trial in self._of(data):
            scored.setdefault(_scored_digest(self._split(trial.evaluation, "val")), trial.arm)
        if len(scored) > 1:
            arms = ", ".join(scored.values())
            yield f"The arms are not scored on the same frames ({arms} differ): do not compare their scores."
        yield from self._same(data)

    def _same(self, data: str) -> Iterator[str]:
        """Arms that cannot differ, since all their trials are the same jobs."""
        trials: dict[str, list[str]] = {}
        for trial in self._of(data):
            trials.setdefault(trial.arm, []).append(trial.evaluation.digest)
        arms: dict[tuple[str, ...], list[str]] = {}
        for arm, digests in trials.items():
            arms.setdefault(tuple(digests), []).append(arm)
        for same in arms.values():
            if len(same) > 1:
                yield f"{' and '.join(same)} are the same trainings: no stage tells apart what they change."

    def _of(self, data: str) -> list[Trial]:
        return [trial for trial in self._plan.trials if trial.data == data]

    def _scores(self, trial: Trial) -> Mapping[str, Any]:
        return read_json(self._plan.home(trial.evaluation).scores, "evaluate", SCORES)

    def _card(self, digest: str) -> Mapping[str, Any]:
        job = self._plan.jobs[digest]
        return read_json(self._plan.home(job).card(job.stage), job.stage, CARD)

    def _figures(self, trial: Trial) -> dict[str, float | None]:
        scores, card = self._scores(trial), self._card(trial.network.digest)
        labels = trial.network.fed_by.get("soft_labels", ())
        teachers = {path for job in labels for path in teacher_cards(self._plan, job)}
        known = {name: scores.get(name) for name in _OF_SCORES}
        known["on_targets"] = scores.get("on_targets", {}).get("miou")
        known["on_clicks"] = scores.get("on_clicks", {}).get("accuracy")
        known |= {name: card[name] for name in ("train_seconds", "steps")}
        return {
            **{name: value if words.known(value) else None for name, value in known.items()},
            **self.supervised(trial.network.digest),
            "teacher_seconds": sum(read_json(path, "teacher", CARD)["train_seconds"] for path in teachers),
            "cache_bytes": sum(
                self._bytes(digest) for stage in INDEXED for digest in _fed(trial.network, stage.name)
            ),
        }

    def _split(self, job: Job, split: Literal["train", "val"]) -> Manifest:
        """The manifest that fed a job, of one of its splits."""
        (digest,) = _fed(job, "manifest")
        return self._manifest(digest, job.config["data"][split])

    def _read_manifest(self, digest: str, split: str) -> Manifest:
        job = self._plan.jobs[digest]
        paths = self._plan.home(job).shards("manifest", split, job.config["data"]["shards"])
        return read_manifests(paths)

    def _count_supervised(self, digest: str) -> dict[str, float | None]:
        """Targets, clicks and people's seconds that a training learned from, within its minutes."""
        job = self._plan.jobs[digest]
        train, clicks = self._split(job, "train"), self._clicks(job)
        options, supervision = job.config["annotation"], job.config["supervision"]
        kept = annotated(train, clicks, options, supervision, keep_targets=False)
        used = 0 if kept.supervision in ("masks", "tags") else len(kept.clicks)
        return {
            "targets": _counts(kept.manifest)["targets"],
            "clicks": used,
            "annotation_seconds": annotation_seconds(train, clicks, options, supervision),
        }

    def _clicks(self, job: Job) -> ClickTable:
        """The clicks that fed a training, whether or not it learned from them."""
        (clicks,) = (self._plan.jobs[fed] for fed in _fed(job, "clicks"))
        return read_clicks(self._plan.home(clicks).clicks(job.config["data"]["train"]))

    def _entry_bytes(self, digest: str) -> int:
        """Bytes of the entries that the index of a job names; what is no longer there counts nothing."""
        job = self._plan.jobs[digest]
        data = job.config["data"]
        paths = self._plan.home(job).shards(job.stage, data["train"], data["shards"])
        found = (self._store.find(job.stage, key) for key in set(keys_in(read_needs(paths, job.stage))))
        return sum(entry.meta["entry_bytes"] for entry in found if entry)


def teacher_cards(plan: Plan, labels: Job) -> list[Path]:
    """The cards of the trained teachers that made some soft labels, whether or not they are there."""
    teachers = labels.fed_by.get("teacher", ())
    if labels.digest not in plan.own:
        return [plan.home(job).card("teacher") for job in teachers]
    own, seed = plan.home(labels), plan.config["seed"]  # the run keeps teachers of other seeds apart
    seeds = (job.config["seed"] for job in teachers)
    return [own.teacher(None if other == seed else other).with_name(CARD) for other in seeds]


def _clicks_by(manifest: Manifest, config: Mapping[str, Any]) -> str:
    """Who made the clicks: people, masks (clicks made from labels), or both."""
    mix = config["clicks"]["mix"]
    if not manifest.click_file or mix == "masks":
        return "masks"
    return "people" if mix == "human" else "both"


def _times(config: Mapping[str, Any]) -> dict[str, float]:
    """The seconds of a click, a mask and a frame that minutes of annotation rest on."""
    return {name: value for name, value in config["annotation"].items() if name != "minutes"}


def _fed(job: Job, stage: str) -> list[str]:
    """Digests of the jobs of a stage that feed a job."""
    return [fed.digest for fed in job.fed_by.get(stage, ())]


def _counts(manifest: Manifest) -> dict[str, Any]:
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
