"""The plan of an experiment: arms x seeds x data sets as jobs, of which equal ones are one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.common.config import ConfigError
from weclick.common.sections import Config, ExperimentSection
from weclick.common.stages import STEPS, takes
from weclick.runs.ablation import ABLATION, ablation_section
from weclick.runs.experiment.arms import Arm, arm_config, read_arms
from weclick.runs.experiment.lineage import Job, Jobs
from weclick.runs.layout import Layout

SHARED = tuple(step.name for step in STEPS if step.name != "evaluate")
"""Stages whose files are those of the run itself where the lineage is the run's own. The run's evaluation
scores its teacher, too."""


@dataclass(frozen=True)
class Trial:
    """One arm with one seed on one data set.

    Attributes:
        data: name of the data set.
        arm: its name.
        seed: of the trial.
        network: the training of the scored network, or the making of scored pseudo-labels.
        evaluation: its scores. The stage that makes pseudo-labels rates them itself.
    """

    data: str
    arm: str
    seed: int
    network: Job
    evaluation: Job

    @property
    def of_labels(self) -> bool:
        """Whether it scores pseudo-labels, and no network."""
        return self.network.stage == "instances"


@dataclass(frozen=True)
class Plan:
    """All jobs of an experiment.

    Attributes:
        name: of the experiment.
        section: what the configuration says of it.
        config: the configuration that the arms change.
        arms: by name.
        trials: data set by data set, arm by arm, seed by seed.
        jobs: by digest; what is needed comes first.
        own: digests of the jobs that the run itself would make, too.
    """

    name: str
    section: ExperimentSection
    config: Config
    arms: dict[str, Arm]
    trials: tuple[Trial, ...]
    jobs: dict[str, Job]
    own: frozenset[str]

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the data sets."""
        return tuple(dict.fromkeys(trial.data for trial in self.trials))

    def home(self, job: Job) -> Layout:
        """Where the files of a job lie: in the results of the run if the run makes them too."""
        results = Layout(Path(self.config["results"]))
        return results if job.digest in self.own else results.made(job.digest)


def make_plan(config: Config, name: str = "") -> Plan:
    """Plan an experiment.

    Args:
        config: complete.
        name: ablation, or that of the configured experiment; empty means the configured one.

    Raises:
        ConfigError: no experiment of that name is configured, or as in `read_arms` and `arm_config`; or two
            data sets are toy streets in one folder.
    """
    section = _section(config, name)
    arms = read_arms(section, config["method"])
    trials: list[Trial] = []
    for data, change in (section["data"] or {_data_name(config): {}}).items():
        configs = {
            arm.name: arm_config(config, arm, data, change) for arm in arms.values() if not arm.copy_of
        }
        for seed in section["seeds"]:
            seeded = {arm: Jobs(changed, seed) for arm, changed in configs.items()}
            trials += _trials(data, seed, arms, seeded)
    jobs: dict[str, Job] = {}
    for trial in trials:
        jobs = jobs | {digest: job for digest, job in trial.evaluation.all().items() if digest not in jobs}
    _check_streets(config, jobs.values())
    run = Jobs(config)
    own = frozenset(run.of(stage).digest for stage in SHARED if takes(config, stage))
    return Plan(name or str(section["name"]), section, config, arms, tuple(trials), jobs, own)


def _section(config: Config, name: str) -> ExperimentSection:
    """What the configuration says of an experiment."""
    if name == ABLATION:
        return ablation_section(config)
    section = config["experiment"]
    if not section["name"]:
        raise ConfigError(
            "no experiment is configured; name one in experiment.name, or add a file that does: "
            "--configfile config/demo.yaml config/experiments/demo.yaml"
        )
    if name not in ("", section["name"]):
        raise ConfigError(
            f"there is no experiment {name!r}; the configuration names {section['name']} (experiment.name), "
            f"and {ABLATION} is always there"
        )
    return section


def _data_name(config: Config) -> str:
    """What the data set is called that all arms share."""
    data = config["data"]
    name = _absolute(data["root"]).name if data["name"] == "folder" else ""
    return name or data["name"]


def _absolute(root: str) -> Path:
    """A folder by its whole path, whatever it is called."""
    return Path(os.path.abspath(root))  # noqa: PTH100 (`..` is taken out)


def _trials(data: str, seed: int, arms: Mapping[str, Arm], seeded: Mapping[str, Jobs]) -> Iterator[Trial]:
    """One trial for each arm; `seeded` are the jobs of arms with settings of their own."""
    networks = {name: jobs.of(arms[name].scores) for name, jobs in seeded.items()}
    for arm in arms.values():
        jobs = seeded[arm.copy_of or arm.name]
        network = networks.get(arm.name) or jobs.training(
            arm.scores, (networks[arm.copy_of], networks[arm.time_of])
        )
        yield Trial(data, arm.name, seed, network, jobs.evaluation(network))


def _check_streets(config: Config, jobs: Iterable[Job]) -> None:
    """Check that each toy street has a folder of its own, under one name."""
    streets: dict[Path, Any] = {}
    drawn = [config["data"]] * (config["data"]["name"] == "toy")
    for data in (*drawn, *(job.config["data"] for job in jobs if job.stage == "toy")):
        first = streets.setdefault(_absolute(data["root"]), data)
        if first["root"] != data["root"]:
            raise ConfigError(
                f"data.root is {first['root']!r} and {data['root']!r}, which are one folder; spell it in one "
                "way"
            )
        if first["toy"] != data["toy"]:
            raise ConfigError(
                f"two toy streets that differ would be drawn into {data['root']}; give each data set of the "
                "experiment a data.root of its own"
            )
