"""The text of a configuration for a data set of one's own."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from weclick.common import words
from weclick.common.config import complete_config
from weclick.common.config_checks import check_run
from weclick.common.schemas import schema_path
from weclick.common.sections import Config, Method, Supervision
from weclick.common.stages import TAGGED
from weclick.common.yaml_files import parse_yaml
from weclick.runs.init.bases import Machine, base_of, map_settings, settings, shrink_for
from weclick.runs.init.seen import Seen

TAGGED_EVERY = 10
"""Of the frames of tagged clips one of so many is learned from, as neighbours look alike."""


@dataclass(frozen=True)
class Choices:
    """What a user decided: the sections of the same names, and the machine that networks are sized for."""

    method: Method
    supervision: Supervision
    machine: Machine


def configuration_text(seen: Seen, choices: Choices, output: Path) -> str:
    """A configuration, with comments.

    Args:
        seen: what the data set holds.
        choices: see there.
        output: the file that it is for, which tells where the schema lies from there.
    """
    base = base_of(choices.method, choices.machine)
    shrink = shrink_for(base, seen.size)
    read_px = (math.ceil(seen.size[0] / shrink), math.ceil(seen.size[1] / shrink))
    environment = Environment(
        loader=PackageLoader("weclick", "runs/init"),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    tagged = choices.method in TAGGED
    text = environment.get_template("weclick.yaml.j2").render(
        told=f"{seen.root}: {seen.told}",
        name=output,
        schema=_schema_from(output.parent),
        method=choices.method,
        supervision=choices.supervision,
        root=_spelled(str(seen.root)),
        root_text=seen.root,
        shrink=shrink,
        size=words.size(seen.size),
        read_size=words.size(read_px),
        target_every=_target_every(seen, choices),
        val_clips=_spelled(seen.held_out_clips()),
        mix=_mix(seen, choices),
        tags=(seen.tags or ("labels" if seen.labelled else "file")) if tagged else None,
        iconic=_spelled(str(seen.iconic)) if seen.iconic else None,
        maps=map_settings(base).rstrip(),
        base=base.name,
        settings=settings(base, read_px).rstrip(),
    )
    return text.rstrip() + "\n"


def check_configuration(text: str, name: str) -> Config:
    """The complete configuration in a YAML text, after the checks that the workflow makes.

    Raises:
        ConfigError: it is not valid; the error calls the text by its name.
    """
    config = complete_config(parse_yaml(text, name), source=name)
    check_run(config)
    return config


def _target_every(seen: Seen, choices: Choices) -> int | None:
    if choices.method == "maskconsist":
        return None  # it learns from pairs, of which both frames have tags
    if choices.method in TAGGED and seen.tags:
        return TAGGED_EVERY
    if seen.held_out_clips() or (seen.clicked and choices.supervision == "clicks"):
        return None
    return seen.target_every() if seen.labelled else None


def _mix(seen: Seen, choices: Choices) -> str | None:
    """`clicks.mix`, if its default would leave the masks out that networks shall learn from."""
    if not seen.clicked:
        return None
    return {"masks": "masks", "both": "human_else_masks"}.get(choices.supervision)


def _schema_from(folder: Path) -> str:
    """The path to the schema: from the configuration's folder if it is in the current one, else whole."""
    schema = schema_path("config")
    if schema.is_relative_to(Path.cwd()):
        return Path(os.path.relpath(schema, folder.resolve())).as_posix()
    return schema.as_posix()


def _spelled(value: Any) -> str:
    """A value in YAML, on one line; empty for an empty list."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("...\n").strip() if value else ""
