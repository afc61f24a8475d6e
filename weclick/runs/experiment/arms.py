"""The arms of an experiment, checked: what each changes, and what the comparisons name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weclick.common.config import ConfigError, changed_config
from weclick.common.config_checks import check_run
from weclick.common.flat import flatten, is_number, spell
from weclick.common.schemas import load_schema
from weclick.common.sections import Config, ExperimentSection, Method, Scored
from weclick.common.stages import METHODS, SCORED, STEPS, takes
from weclick.common.typed import part_of
from weclick.runs.experiment.kinds import KINDS

CHANGEABLE = (
    "method",
    *dict.fromkeys(path.partition(".")[0] for step in STEPS for path in step.reads if path != "seed"),
)
"""The method, and sections that a step reads. What no step reads would change nothing; seeds are the
experiment's own."""

KEPT = ("cache",)
"""Of these, the sections that all arms share."""


@dataclass(frozen=True)
class Arm:
    """One way to train, as the configuration describes it.

    Attributes:
        name: of the arm.
        description: in a few words.
        change: section -> key -> value.
        scores: what is scored: a network, or instances, the pseudo-labels of a detector.
        copy_of: the arm whose settings and pace it has; empty if it has settings of its own.
        time_of: the arm that takes as long; empty if its steps are configured.
    """

    name: str
    description: str = ""
    change: Mapping[str, Any] = field(default_factory=dict)
    scores: Scored = "student"
    copy_of: str = ""
    time_of: str = ""


def read_arms(section: ExperimentSection, method: Method = "weclick") -> dict[str, Arm]:
    """The arms of an experiment by name.

    Args:
        section: of the configuration.
        method: of the arms that choose no other. An arm scores the last network of its method by default.

    Raises:
        ConfigError: an arm, a choice or a comparison names what is not there, or contradicts itself; or no
            one score holds for all arms.
    """
    arms = {name: _arm(name, raw, method) for name, raw in section["arms"].items()}
    if not arms:
        raise ConfigError(
            "experiment.arms is empty; name at least one arm, e.g. clicks: {change: {kd: {weight: 0}}}"
        )
    for arm in arms.values():
        _check_time(arm, arms)
    _check_scores("experiment.arms", arms.values(), "make an experiment of each")
    _check_names(section, arms)
    return arms


def arm_config(config: Config, arm: Arm, data: str, change: Mapping[str, Any]) -> Config:
    """The configuration of an arm on a data set, without the experiment itself.

    Args:
        config: of all arms.
        arm: that changes it.
        data: name of the data set, for errors.
        change: that the data set makes.

    Raises:
        ConfigError: a change is none that an arm may make, or the outcome is no valid configuration.
    """
    whole = {name: part for name, part in config.items() if name not in ("experiment", "ablation")}
    _check_change(f"experiment.data.{data}", change)
    _check_change(f"experiment.arms.{arm.name}.change", arm.change)
    where = f"experiment.arms.{arm.name}" + (f" on experiment.data.{data}" if change else "")
    changes = (_with_floats(each, load_schema("config")) for each in (change, arm.change))
    made = changed_config(whole, *changes, source=where)
    if made["student"]["online"]["teacher"] != config["student"]["online"]["teacher"]:
        raise ConfigError(
            f"{where}: student.online.teacher is the same for all arms; set it in the configuration itself"
        )
    try:
        check_run(made)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    if not takes(made, arm.scores):
        raise ConfigError(
            f"{where}: scores the {arm.scores}, but method {made['method']} makes none; set scores: "
            f"{METHODS[made['method']].last[0]}"
        )
    return made


def _arm(name: str, raw: Mapping[str, Any], method: Method) -> Arm:
    copy_of, time_of = raw.get("as", ""), raw.get("for_time_of", "")
    if bool(copy_of) != bool(time_of):
        raise ConfigError(
            f"experiment.arms.{name}: has {'as' if copy_of else 'for_time_of'} alone; an arm of another's "
            "wall time needs both, `as` for its settings and `for_time_of` for the time"
        )
    if copy_of and {"change", "scores"} & raw.keys():
        raise ConfigError(
            f"experiment.arms.{name}: has `as: {copy_of}` and settings of its own; take change and scores "
            "out, or make an arm of these settings and name it in `as`"
        )
    change = raw.get("change", {})
    last = {str(name): each.last[0] for name, each in METHODS.items()}
    # an unknown method is told when the change is made
    own = "student" if copy_of else last.get(str(change.get("method")), last[method])
    scores = raw.get("scores", own)
    return Arm(name, raw.get("description", ""), change, scores, copy_of, time_of)


def _check_time(arm: Arm, arms: Mapping[str, Arm]) -> None:
    for key, name in (("as", arm.copy_of), ("for_time_of", arm.time_of)):
        if not name:
            continue
        _check_known(f"experiment.arms.{arm.name}.{key}", [name], arms)
        if arms[name].copy_of:
            raise ConfigError(
                f"experiment.arms.{arm.name}.{key}: {name} has itself the time of another arm; name an arm "
                "with steps of its own"
            )
    if arm.copy_of and arms[arm.copy_of].scores != "student":
        raise ConfigError(
            f"experiment.arms.{arm.name}.as: {arm.copy_of} scores its {arms[arm.copy_of].scores}, but only a "
            "student can be given a wall time; name an arm that scores its student"
        )


def _check_scores(where: str, arms: Iterable[Arm], todo: str) -> None:
    """Check that one score holds for some arms: it is of pixels, or of objects."""
    _check_even(where, [(arm, KINDS[arm.scores]) for arm in arms], "and no score holds for both", todo)


def _check_frames(where: str, arms: Iterable[Arm]) -> None:
    """Check that some arms are scored on the same frames. A detector and its labels are not."""
    found = [(arm, arm.scores not in SCORED and arm.scores) for arm in arms]
    _check_even(where, found, "which are scored on other frames", "name arms that score the same")


def _check_even(where: str, found: Sequence[tuple[Arm, Any]], fault: str, todo: str) -> None:
    (first, what), *rest = found
    if other := next((arm for arm, each in rest if each != what), None):
        raise ConfigError(
            f"{where}: {first.name} scores its {first.scores}, and {other.name} its {other.scores}, {fault}; "
            f"{todo}"
        )


def _check_names(section: ExperimentSection, arms: Mapping[str, Arm]) -> None:
    for name, choice in section["choose"].items():
        if name in arms:
            raise ConfigError(f"experiment.choose.{name}: an arm has that name; give the choice another one")
        _check_known(f"experiment.choose.{name}.among", choice["among"], arms)
        _check_frames(f"experiment.choose.{name}.among", [arms[each] for each in choice["among"]])
    _check_over(section["over"], arms.values())
    for position, line in enumerate(section["compare"]):
        _check_known(f"experiment.compare.{position}", line, [*arms, *section["choose"]])
        named = [arms[arm] for name in line for arm in _among(name, section)]
        _check_frames(f"experiment.compare.{position}", named)


def _among(name: str, section: ExperimentSection) -> list[str]:
    """The arms that a name in a comparison may stand for."""
    choice = section["choose"].get(name)
    return choice["among"] if choice else [name]


def _check_over(over: str | None, arms: Iterable[Arm]) -> None:
    changed = (dict(flatten(arm.change)) for arm in arms)
    values = [values[over] for values in changed if over in values]
    if over is None or any(is_number(value) for value in values):
        return
    found = f"{over!r} is no number but {spell(values[0])}" if values else f"no arm changes {over!r}"
    raise ConfigError(
        f"experiment.over: {found}; name a section and its key that arms change to numbers, e.g. "
        "annotation.minutes"
    )


def _check_known(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    strange = [name for name in names if name not in (known := list(known))]
    if strange:
        raise ConfigError(f"{where}: there is no arm {strange[0]!r}; known: {', '.join(known)}")


def _with_floats(value: Any, schema: Mapping[str, Any]) -> Any:
    """The same values, but with 0.0 for 0 where the schema wants any number, as keys tell the two apart."""
    if isinstance(value, Mapping):
        return {key: _with_floats(part, part_of(schema, key)) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_floats(part, schema.get("items", {})) for part in value]
    whole = isinstance(value, int) and is_number(value)
    return float(value) if whole and schema.get("type") in ("number", ["number", "null"]) else value


def _check_change(where: str, change: Mapping[str, Any]) -> None:
    """Check that a change leaves alone what all arms share; of unknown keys, the schema speaks."""
    allowed = [name for name in CHANGEABLE if name not in KEPT]
    known = load_schema("config")["properties"]
    shared = [name for name in change if name in known and name not in allowed]
    if shared:
        raise ConfigError(
            f"{where}: {shared[0]} is the same for all arms, so it may not be changed here; an arm may "
            f"change {', '.join(allowed)}"
        )
