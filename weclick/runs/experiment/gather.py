"""Reads what the trials of an experiment left: scores, costs, and the facts of their data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from weclick.clicks.table import read_clicks
from weclick.common import words
from weclick.common.digest import canonical_json
from weclick.common.files import read_json
from weclick.common.sections import AnnotationSection
from weclick.common.stages import CARD, INDEXED, INSTANCE_SCORES, ROLES, SCORED, SCORES
from weclick.evaluate.instances.truth import with_truth
from weclick.manifest import Manifest, read_manifests
from weclick.manifest.annotation import annotated
from weclick.manifest.click_table import ClickTable
from weclick.runs.experiment.costs import annotation_seconds
from weclick.runs.experiment.instance_figures import instance_figures
from weclick.runs.experiment.kinds import FINDS, SEGMENTS
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
        """(arm, seed) -> figure -> value of every trial on a data set, see `Kind.figures`.

        Raises:
            MissingFileError, InputError: a file of a trial is missing or damaged; its stage is named.
        """
        return {(trial.arm, trial.seed): self._figures(trial) for trial in self._of(data)}

    def facts(self, data: str) -> dict[str, Any]:
        """What the first arm of a data set may learn from, and what it was scored on.

        Of arms that may do without clicks, the first one with clicks tells of these.
        """
        trials = self._of(data)
        network = next((each.network for each in trials if _fed_clicks(each.network)), trials[0].network)
        clicks = self._clicks(network)
        train, val = self._split(network, "train"), self._split(trials[0].evaluation, "val")
        unbounded: AnnotationSection = {**network.config["annotation"], "minutes": None}
        return {
            "dataset": val.dataset,
            "classes": list(val.classes.names),
            "train": _counts(train),
            "val": _counts(val),
            "clicks": 0 if clicks is None else len(clicks),
            "clicks_by": "" if clicks is None else _clicks_by(train, network.config),
            "annotation_seconds": (
                None if clicks is None else annotation_seconds(train, clicks, unbounded, "clicks")
            ),
            "annotation": _times(network.config),
            "trainings": self._trainings(trials),
            "scored_sha256": _scored_digest(val, objects=_finds(trials[0].network)),
            "devices": sorted(
                {str(self._scores(trial).get("device", "?")) for trial in trials if not trial.of_labels}
            ),
        }

    def _trainings(self, trials: list[Trial]) -> dict[str, Any]:
        """How many trainings some trials took, each once, and their seconds."""
        roles = {path: role for trial in trials for path, role in self._cards(trial.network).items()}
        cards = [read_json(path, roles[path], CARD) for path in sorted(roles)]
        seconds = [card["train_seconds"] for card in cards if words.known(card["train_seconds"])]
        return {"count": len(cards), "seconds": sum(seconds)}

    def _cards(self, network: Job) -> dict[Path, str]:
        """The model card of each training that a network or pseudo-labels took -> its role; the last is last.

        Of a network that segments, these are its teachers and itself.
        """
        trained = [job for job in network.all().values() if job.stage in ROLES]
        trained = trained if _finds(network) else [network]
        labels = network.fed_by.get("soft_labels", ())
        teachers = {path: "teacher" for job in labels for path in teacher_cards(self._plan, job)}
        return {**teachers, **{self._plan.home(job).card(job.stage): job.stage for job in trained}}

    def notes(self, data: str) -> Iterator[str]:
        """Reasons against a comparison of the arms of a data set."""
        scored: dict[bool, dict[str, str]] = {}
        for trial in self._of(data):
            scored.setdefault(trial.of_labels, {}).setdefault(self._scored_on(trial), trial.arm)
        for arms in (", ".join(found.values()) for found in scored.values() if len(found) > 1):
            yield f"The arms are not scored on the same frames ({arms} differ): do not compare their scores."
        yield from self._same(data)

    def _scored_on(self, trial: Trial) -> str:
        """A digest of the truth that a trial is scored by: of pseudo-labels, that of all training frames."""
        if not trial.of_labels:
            return _scored_digest(self._split(trial.evaluation, "val"), objects=_finds(trial.network))
        train = self._split(trial.network, "train")
        clips = (replace(clip, scored=tuple(range(len(clip.frames)))) for clip in train.clips)
        return _scored_digest(with_truth(replace(train, clips=tuple(clips))), objects=True)

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
        known = INSTANCE_SCORES if _finds(trial.network) else SCORES
        return read_json(self._plan.home(trial.evaluation).scores, "evaluate", known)

    def _figures(self, trial: Trial) -> dict[str, float | None]:
        finds = _finds(trial.network)
        known = instance_figures(self._plan, trial) if finds else self._pixel_figures(trial)
        cards = [read_json(path, role, CARD) for path, role in self._cards(trial.network).items()]
        known |= {name: card[name] for card in cards[-1:] for name in ("train_seconds", "steps")}
        return {
            **{name: value if words.known(value) else None for name, value in known.items()},
            **self.supervised(trial.network.digest),
            (FINDS if finds else SEGMENTS).before: sum(card["train_seconds"] for card in cards[:-1]),
            "cache_bytes": sum(
                self._bytes(digest) for stage in INDEXED for digest in _fed(trial.network, stage.name)
            ),
        }

    def _pixel_figures(self, trial: Trial) -> dict[str, Any]:
        scores = self._scores(trial)
        return {
            **{name: scores.get(name) for name in _OF_SCORES},
            "on_targets": scores.get("on_targets", {}).get("miou"),
            "on_clicks": scores.get("on_clicks", {}).get("accuracy"),
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
        """Targets, clicks and people's seconds that a training learned from, within its minutes.

        Each click that instances are made from counts, whatever the minutes. What tags take is not known.
        """
        job = self._plan.jobs[digest]
        train, clicks = self._split(job, "train"), self._clicks(job)
        options, supervision = job.config["annotation"], job.config["supervision"]
        if clicks is None:
            return {"targets": _counts(train)["targets"], "clicks": 0, "annotation_seconds": None}
        if _finds(job):
            options, supervision = {**options, "minutes": None}, "clicks"
        kept = annotated(train, clicks, options, supervision, keep_targets=False)
        used = 0 if kept.supervision in ("masks", "tags") else len(kept.clicks)
        return {
            "targets": _counts(kept.manifest)["targets"],
            "clicks": used,
            "annotation_seconds": annotation_seconds(train, clicks, options, supervision),
        }

    def _clicks(self, job: Job) -> ClickTable | None:
        """The clicks that fed a training or its labels, whether or not it learned from them."""
        if (clicks := _fed_clicks(job)) is None:
            return None
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


def _finds(network: Job) -> bool:
    """Whether a trial of this network, or of these pseudo-labels, is of the kind `FINDS`."""
    return network.stage not in SCORED


def _fed_clicks(network: Job) -> Job | None:
    """The clicks behind a network; all that feeds it has the same ones."""
    return next((job for job in network.all().values() if job.stage == "clicks"), None)


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


def _scored_digest(manifest: Manifest, *, objects: bool) -> str:
    """A digest of the labels that networks are scored on, and of what is read of them.

    Args:
        manifest: of the split.
        objects: also of the files that tell objects apart.
    """
    frames = ((clip.id, clip.frames[t]) for clip in manifest.clips for t in clip.scored)
    labels = [
        [clip, frame.number, frame.label_digest or frame.digest, *[frame.instances_digest] * objects]
        for clip, frame in frames
    ]
    told = canonical_json([manifest.classes.names, manifest.shrink, sorted(labels)])
    return hashlib.sha256(told.encode()).hexdigest()
