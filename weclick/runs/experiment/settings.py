"""What the arms of an experiment change, and the configuration that they share, for its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weclick.common import words
from weclick.common.flat import evenly, flatten, spell
from weclick.common.stages import READ_FOR, STEPS, STUDENT_READS_WITH, Stage, taken_by

SCORED_WORDS = {
    "teacher": "Its teacher is scored.",
    "instances": "Its pseudo-labels are scored, and no detector is trained.",
}
"""What an arm scores that is not the last network of its method."""


def matrix(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The options by which any arm differs from the shared configuration, arm by arm.

    Args:
        summary: of the experiment.

    Returns:
        options: their dotted names; shared: their values in the shared configuration; arms: name,
        description, words and values of each arm. A value that equals the shared one is empty, whether it is
        written 3 or 3.0.
    """
    shared = dict(flatten(summary["config"]))
    changed = {name: _changed(arm["change"], shared) for name, arm in summary["arms"].items()}
    options = list(dict.fromkeys(option for changes in changed.values() for option in changes))
    arms = [
        {
            "name": name,
            "description": arm["description"],
            "words": _arm_words(arm, changed[name]),
            "values": [changed[name].get(option, "") for option in options],
        }
        for name, arm in summary["arms"].items()
    ]
    return {"options": options, "shared": [_told(shared, each) for each in options], "arms": arms}


def data_settings(summary: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """(data set, rows of option, its value there, its value in the shared configuration)."""
    shared = dict(flatten(summary["config"]))
    return [
        (name, [(key, value, _told(shared, key)) for key, value in _changed(change, shared).items()])
        for name, change in summary.get("data", {}).items()
    ]


def shown_config(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The shared configuration without sections that no stage of any arm reads."""
    config = summary["config"]
    read = {section for run in _runs(summary) for stage in taken_by(run) for section in _read(run, stage)}
    stages = {path.partition(".")[0] for stage in STEPS for path in stage.reads}
    return {name: part for name, part in config.items() if name in read or name not in stages}


def _changed(change: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, str]:
    """Option -> its value, of those that differ from the shared configuration."""
    return {
        key: _spelled(value)
        for key, value in flatten(change)
        if key not in shared or _spelled(value) != _spelled(shared[key])
    }


def _spelled(value: Any) -> str:
    return spell(evenly(value))


def _told(shared: Mapping[str, Any], option: str) -> str:
    return _spelled(shared[option]) if option in shared else words.DASH


def _arm_words(arm: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    if arm.get("as"):
        return f"The settings of {arm['as']}, for as many steps as fit the wall time of {arm['for_time_of']}."
    scored = SCORED_WORDS.get(arm["scores"], "")
    return scored if changes else f"As the shared configuration. {scored}".strip()


def _runs(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The configuration of each arm on each data set."""
    for data in summary.get("data") or {"": {}}:
        change = summary.get("data", {}).get(data, {})
        for arm in summary["arms"].values():
            yield _over(_over(summary["config"], change), arm["change"])


def _over(config: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the values of a change."""
    made = dict(config)
    for key, value in change.items():
        deep = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = _over(made[key], value) if deep else value
    return made


def _read(run: Mapping[str, Any], stage: Stage) -> set[str]:
    """The sections that a stage of a run reads."""
    method = run.get("method", "weclick")
    other = {name for name, of in READ_FOR.items() if of not in run.get("serves", [method])}
    if stage.name == "student":
        other = {name for name, of in STUDENT_READS_WITH.items() if of != method}
    return {path.partition(".")[0] for path in stage.reads} - other
