"""What an experiment trains: how many networks, and how long those take that are still missing."""

from __future__ import annotations

from collections.abc import Mapping

from weclick.common.sections import Config, Role
from weclick.common.stages import ROLES
from weclick.runs.experiment.lineage import Job
from weclick.runs.experiment.plan import Plan
from weclick.runs.plan.planned import ExperimentPlan, TrainingsPlan
from weclick.runs.plan.probe import Pace


def plan_experiment(plan: Plan, paces: Mapping[Role, Pace]) -> ExperimentPlan:
    """Count the trainings of an experiment, and add up the time of those that have left no model card.

    A step is timed for the configuration that the arms share. One of other crops or batches takes as long as
    it has pixels; other backbones, data and losses are not told apart.

    Args:
        plan: of the experiment.
        paces: of a step with the shared configuration. Trainings of a role that is not among them have no
            time.
    """
    seeds, data = plan.section["seeds"], plan.data
    roles = (_trainings(plan, role, paces) for role in ROLES if _trained(plan, role))
    return ExperimentPlan(plan.name, len(plan.arms), len(seeds), len(data), tuple(roles))


def missing(plan: Plan, role: Role) -> list[Job]:
    """The trainings of a role that have left no model card."""
    return [job for job in _trained(plan, role) if not plan.home(job).card(role).is_file()]


def _trained(plan: Plan, role: Role) -> list[Job]:
    return [job for job in plan.jobs.values() if job.stage == role]


def _trainings(plan: Plan, role: Role, paces: Mapping[Role, Pace]) -> TrainingsPlan:
    lacking = missing(plan, role)
    seconds = [_seconds(plan.config, job, paces) for job in lacking]
    known = [each for each in seconds if each is not None]
    whole = sum(known) if len(known) == len(seconds) else None
    return TrainingsPlan(role, len(_trained(plan, role)), len(lacking), whole)


def _seconds(shared: Config, job: Job, paces: Mapping[Role, Pace]) -> float | None:
    """How long a training takes: one of equal wall time as long as the other one."""
    job = job.time_of[-1] if job.time_of else job
    for role in ROLES:
        if role == job.stage and role in paces:
            steps = job.config[role]["steps"] * _pixels(job.config, role) / _pixels(shared, role)
            return steps * paces[role].seconds
    return None


def _pixels(config: Config, role: Role) -> int:
    """Of the batch of a step."""
    height, width = config[role]["crop"]
    return config[role]["batch_size"] * height * width
