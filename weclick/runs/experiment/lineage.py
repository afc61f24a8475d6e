"""The lineage of a stage's files: what a stage reads, and what all that fed it has read.

Two stages of one lineage make the same files. So jobs of several arms and seeds that share a lineage are one
job, and its digest names their folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from weclick.common.config import select
from weclick.common.config_checks import map_sources
from weclick.common.digest import canonical_json
from weclick.common.flat import evenly
from weclick.common.sections import Config
from weclick.common.stages import (
    NEEDED_BY,
    ROLES,
    STAGES,
    looks_at_maps,
    looks_at_stacks,
    losses_off,
    takes,
)
from weclick.runs.instance_source import instances_from
from weclick.runs.proxy_source import given_to
from weclick.runs.teachers import trained_seeds

DIGITS = 12
"""Hexadecimal digits of a digest that names a folder."""

PLACES = ("cache",)
"""Sections that say where files lie, and not what is in them."""

LATER = {"tags": {"reach_frames": 0}}
"""Section -> keys that came later, with the values at which a stage does what it did before: digests leave
them out, so that files which an experiment has made are found."""

_FED_BY = {stage.name: stage.fed_by for stage in STAGES}


@dataclass(frozen=True, eq=False)
class Job:
    """A stage with its configuration and with the jobs that feed it.

    Attributes:
        stage: its name.
        config: complete; its `seed` is that of the job.
        fed_by: stage -> jobs.
        time_of: for a training whose length is a wall time: the training whose pace it has, and the one that
            takes that time.
    """

    stage: str
    config: Config
    fed_by: Mapping[str, tuple[Job, ...]]
    time_of: tuple[Job, ...] = ()
    digest: str = field(init=False)
    """Of the lineage, in hex."""

    def __post_init__(self) -> None:
        lineage = {
            "stage": self.stage,
            "reads": evenly(_read_by(self.stage, self.config)),
            "fed_by": {stage: [job.digest for job in jobs] for stage, jobs in self.fed_by.items()},
            "time_of": [job.digest for job in self.time_of],
        }
        digest = hashlib.sha256(canonical_json(lineage).encode()).hexdigest()[:DIGITS]
        object.__setattr__(self, "digest", digest)

    def all(self) -> dict[str, Job]:
        """This job and all that it needs, by digest; what is needed comes first."""
        found: dict[str, Job] = {}
        for job in (*(job for jobs in self.fed_by.values() for job in jobs), *self.time_of):
            found |= job.all()
        return {**found, self.digest: self}


def _read_by(stage: str, config: Config) -> dict[str, Any]:
    """What a stage reads of a configuration, without PLACES and what LATER leaves out."""
    read = {name: part for name, part in select(config, stage).items() if name not in PLACES}
    for name, values in LATER.items():
        if name in read:
            read[name] = {
                key: value
                for key, value in cast("dict[str, Any]", read[name]).items()
                if key not in values or value != values[key]
            }
    return read


def feeders(config: Config, stage: str) -> tuple[str, ...]:
    """The stages that feed a stage with this configuration."""
    return tuple(
        name
        for name in _FED_BY[stage]
        if takes(config, name) and ((stage, name) not in _ONLY_IF or _ONLY_IF[stage, name](config))
    )


class Jobs:
    """The jobs of one configuration and one seed of the trainings; each is made once.

    Args:
        config: complete; its own seed is that of the clicks.
        seed: of the trainings; by default that of the configuration.
    """

    def __init__(self, config: Config, seed: int | None = None):
        self._config, self._seeded = config, config if seed is None else _with_seed(config, seed)
        self.of = cache(self._make)

    def _make(self, stage: str) -> Job:
        """The job of a stage."""
        config = self._seeded if stage in ROLES else self._config
        return Job(stage, config, {name: self._feed(stage, name) for name in feeders(config, stage)})

    def training(self, role: str, time_of: tuple[Job, ...]) -> Job:
        """A training that takes as long as another one, see `Job.time_of`."""
        return Job(role, self._seeded, self.of(role).fed_by, time_of)

    def evaluation(self, network: Job) -> Job:
        """The scores of a network on this configuration's data. Instances are scored where they are made."""
        if network.stage == "instances":
            return network
        others = [name for name in feeders(self._config, "evaluate") if name not in ROLES]
        data = {name: (self.of(name),) for name in others}
        return Job("evaluate", self._config, {**data, network.stage: (network,)})

    def _feed(self, stage: str, name: str) -> tuple[Job, ...]:
        if (stage, name) != ("soft_labels", "teacher"):
            return (self.of(name),)
        own = self.of(name)
        seeded = (_with_seed(self._config, seed) for seed in trained_seeds(self._seeded))
        return tuple(own if config == own.config else Job(name, config, own.fed_by) for config in seeded)


def _with_seed(config: Config, seed: int) -> Config:
    return {**config, "seed": seed}


def _distils(config: Config, stage: str) -> bool:
    """Whether a student of this configuration reads what a stage has stored."""
    losses: Mapping[str, Any] = config  # mypy cannot follow sections that are looked up by name
    if config["student"]["online"]["teacher"]:
        return False
    return any(losses[loss]["weight"] for loss in NEEDED_BY[stage] if loss not in losses_off(config))


_ONLY_IF: dict[tuple[str, str], Callable[[Config], bool]] = {
    ("manifest", "toy"): lambda config: config["data"]["name"] == "toy",
    ("cams", "classifier"): lambda config: "tags" in map_sources(config["cams"]),
    ("soft_labels", "teacher"): lambda config: bool(trained_seeds(config)),
    ("soft_labels", "flow"): lambda config: config["soft_labels"]["fuse"]["neighbours"] > 0,
    ("proxy_labels", "tags"): lambda config: "tags" in given_to(config),
    ("proxy_labels", "cams"): lambda config: "cams" in given_to(config),
    ("proxy_labels", "flow"): lambda config: "flow" in given_to(config),
    ("proxy_labels", "clicks"): lambda config: "clicks" in given_to(config),
    ("confident_labels", "flow"): lambda config: config["fcam"]["motion"] != "none",
    ("relation", "flow"): lambda config: config["flow_boundary"]["weight"] > 0,
    ("instances", "tags"): lambda config: "tags" in instances_from(config),
    ("instances", "cams"): lambda config: "cams" in instances_from(config),
    ("instances", "flow"): lambda config: "flow" in instances_from(config),
    ("instances", "relation"): lambda config: "relation" in instances_from(config),
    ("instances", "clicks"): lambda config: "clicks" in instances_from(config),
    ("detector", "flow"): lambda config: config["maskconsist"]["weight"] > 0,
    ("student", "tags"): lambda config: config["supervision"] == "tags",
    ("student", "cams"): looks_at_maps,
    ("student", "flow"): lambda config: _distils(config, "flow") or looks_at_stacks(config),
    ("student", "soft_labels"): lambda config: _distils(config, "soft_labels"),
}
"""(a stage, one that may feed it) -> whether it does. Those that are not listed do if the run takes them."""
