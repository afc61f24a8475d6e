"""What a plan says: a line for each stage, and their sums."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StagePlan:
    """One line of a plan.

    Attributes:
        stage: its name.
        work: all of its work, in words.
        found, missing: entries that the store has and lacks; -1 if only the run can tell.
        store_bytes: bytes that will be written to the writable root.
        seconds: time for the missing work, or None if it was not measured.
        estimated: the time was scaled up from smaller work.
    """

    stage: str
    work: str
    found: int = 0
    missing: int = 0
    store_bytes: int = 0
    seconds: float | None = None
    estimated: bool = False


@dataclass(frozen=True)
class TrainingsPlan:
    """The trainings of one role in an experiment.

    Attributes:
        role: teacher or student.
        networks: all of them; arms and seeds that train the same share one.
        missing: those that the results folder lacks.
        seconds: time for these, one after the other; None if it was not measured.
    """

    role: str
    networks: int
    missing: int
    seconds: float | None


@dataclass(frozen=True)
class ExperimentPlan:
    """What the configured experiment trains, see `weclick.runs.plan.trainings`.

    Attributes:
        name: of the experiment.
        arms, seeds, data_sets: how many there are.
        trainings: of each role that it trains.
    """

    name: str
    arms: int
    seeds: int
    data_sets: int
    trainings: tuple[TrainingsPlan, ...]

    @property
    def seconds(self) -> float | None:
        """Time of all trainings that are missing; None if that of a role is not known."""
        known = [each.seconds for each in self.trainings if each.seconds is not None]
        return sum(known) if len(known) == len(self.trainings) else None


@dataclass(frozen=True)
class Plan:
    """A plan of a run.

    Attributes:
        stages: in the order of the data.
        results_bytes: copies of the networks in the results folder, and a checkpoint while one is trained.
        root: the writable root of the store.
        free_bytes: on its disk.
        notes: the assumptions behind the figures.
        experiment: what the configured experiment trains; None if there is none.
        last: the stage after which nothing is planned; empty if the plan is of the whole run.
    """

    stages: tuple[StagePlan, ...]
    results_bytes: int
    root: str
    free_bytes: int
    notes: tuple[str, ...] = ()
    experiment: ExperimentPlan | None = None
    last: str = ""

    @property
    def needed_bytes(self) -> int:
        """All bytes that will be written."""
        return self.results_bytes + sum(stage.store_bytes for stage in self.stages)

    @property
    def seconds(self) -> float:
        """The times that are known, added up."""
        return sum(stage.seconds or 0 for stage in self.stages)

    @property
    def untimed(self) -> list[str]:
        """Names of the stages whose time is not known."""
        return [stage.stage for stage in self.stages if stage.seconds is None]

    @property
    def fits(self) -> bool:
        """Whether the disk has room for it."""
        return self.needed_bytes <= self.free_bytes
