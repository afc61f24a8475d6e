"""The configuration: defaults from its JSON schema, values from YAML, errors that name the key."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

from weclick.common.config_faults import explain, leaves, not_finite
from weclick.common.errors import InputError, MissingFileError
from weclick.common.schemas import load_schema, validator
from weclick.common.sections import Config, Selection
from weclick.common.stages import (
    METHODS,
    READ_FOR,
    STAGES,
    STUDENT_READS_WITH,
    losses_off,
)
from weclick.common.typed import typed, with_whole_paths
from weclick.common.words import masked
from weclick.common.yaml_files import NULLS, parse_yaml, read_yaml, resolved

VERSION = 1
"""Version of the configuration's keys and their meaning. It rises when an old file would mislead."""

SECTIONS = {stage.name: stage.reads for stage in STAGES}
"""What each stage reads of the configuration. A change there runs it again. The report shows all."""

RESOLVED = ("serves", "supervision")
"""Keys whose null stands for what the method says. In a complete configuration they are never null."""

RENAMED = {"flow.stride": "flow.stride_px"}
"""Old name of a key -> its name now, in the same section. The old one is still read, with a hint."""


class ConfigError(InputError):
    """The configuration holds something it should not."""


def complete_config(given: Mapping[str, Any], *, source: str = "configuration") -> Config:
    """Check a configuration and fill in the defaults.

    Args:
        given: sections as read from YAML; any key may be left out, or have its old name (RENAMED).
        source: the name for errors, e.g. the file.

    Raises:
        ConfigError: a key is unknown, or a value has a wrong type or range; all faults are listed. Or the
            configuration has another version, or gives a key under two names with two values.
    """
    return _checked(typed(_renamed(given, source), load_schema("config")), source)


def _checked(values: dict[str, Any], source: str) -> Config:
    """Values of the right types, checked against the schema, with the defaults filled in."""
    schema = load_schema("config")
    _check_version(values.get("version", VERSION), source)
    errors = sorted(validator("config").iter_errors(values), key=lambda error: str(list(error.path)))
    told = [explain(error) for error in errors]
    told += [f"{path}: {value} is not a finite number" for path, value in not_finite(values)]
    told += [
        f"{path}: holds a password or a key, which command lines and reports would show; give it by "
        "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by an AWS profile; MLflow's by "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        for path, value in leaves(values)
        if isinstance(value, str) and masked(value) != value
    ]
    if told:
        raise ConfigError(masked(f"{source}: " + "; ".join(told)))
    if values.get("supervision") == "tags" and "method" not in values:
        # no other method learns from tags, and a part of a configuration does not tell its method
        values = {**values, "method": "two_stream"}
    config = _resolved(cast("Config", _fill(values, schema)), source)  # its types are those of the schema
    if config["data"]["name"] == "toy" and set("{}") & set(config["data"]["root"]):
        raise ConfigError(
            f"{source}: data.root is {config['data']['root']!r}, where the toy street is drawn, but "
            "Snakemake reads braces otherwise; name a folder without braces"
        )
    return config


def _resolved(config: Config, source: str) -> Config:
    """The configuration with what `serves` and `supervision` stand for."""
    method, allowed = config["method"], METHODS[config["method"]].supervisions
    supervision = config["supervision"] or allowed[0]
    if supervision not in allowed:
        raise ConfigError(
            f"{source}: supervision is {supervision!r}, but method {method} learns from "
            f"{' or '.join(allowed)}; leave supervision out, or choose another method"
        )
    served = config["serves"] or [method]
    return {**config, "serves": [each for each in METHODS if each in served], "supervision": supervision}


def _with_open_choices(config: Mapping[str, Any]) -> dict[str, Any]:
    """A complete configuration with null for what null stands for, so that another method decides anew."""
    if "method" not in config:
        return dict(config)
    meant = {"serves": [config["method"]], "supervision": METHODS[config["method"]].supervisions[0]}
    return {key: None if key in meant and value == meant[key] else value for key, value in config.items()}


def load_config(source: str | Path | Sequence[str | Path], overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, or JSON text, and complete it.

    Args:
        source: path of a YAML file, or a text that begins with '{'; or several, later ones over earlier ones.
        overrides: `section.key=value` texts, the values in YAML. They win, also under a key's old name.

    Raises:
        ConfigError: the source cannot be read, an override is malformed, a path names a variable that is not
            set, or as in `complete_config`.
    """
    name, raw = _merged([source] if isinstance(source, str | Path) else source)
    for override in overrides:
        _override(raw, override)
    return _with_whole_paths(raw, name)


def load_configs(files: Sequence[str | Path], given: Mapping[str, Any]) -> Config:
    """The configuration of a Snakemake run: its files, later ones over earlier ones, and its --config.

    Snakemake has read the files before, but lets a key stand twice, and makes False of `no`. So they are
    read once more.

    Args:
        files: those of --configfile, in order.
        given: what --config says, as Snakemake reads it: texts in place of most values.

    Raises:
        ConfigError: as `load_config`.
    """
    name, merged = _merged(files)
    _merge(merged, _with_nulls(_renamed(given, "--config")))
    return _with_whole_paths(merged, name or "configuration")


def _merged(sources: Sequence[str | Path]) -> tuple[str, dict[str, Any]]:
    """The names of some sources for errors, and their sections, later ones over earlier ones."""
    read = [_read(source) for source in sources]
    merged: dict[str, Any] = {}
    for _, raw in read:
        _merge(merged, raw)
    return " and ".join(name for name, _ in read), merged


def _read(source: str | Path) -> tuple[str, dict[str, Any]]:
    """The name of a source for errors, and its sections under the current names of keys."""
    text = str(source)
    name = "configuration" if text.startswith("{") else text
    try:
        raw = parse_yaml(text, name) if text.startswith("{") else read_yaml(Path(text))
    except MissingFileError as error:
        raise ConfigError(
            f"{error}; give --config a file, such as the weclick.yaml that `weclick init` "
            "writes, or the name of one that weclick brings, such as demo"
        ) from error
    except InputError as error:
        raise ConfigError(str(error)) from error
    raw = {} if raw == "" else raw
    if not isinstance(raw, dict):
        found = "a list" if isinstance(raw, list) else "one value"
        raise ConfigError(f"{name}: holds {found}, expected sections such as 'student:'")
    return name, _renamed(raw, name)


def _with_nulls(value: Any) -> Any:
    """The same values; Snakemake's --config also gives null as a text."""
    if isinstance(value, Mapping):
        return {key: _with_nulls(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_nulls(part) for part in value]
    return None if isinstance(value, str) and value in NULLS else value


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Put values over others, section by section."""
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _with_whole_paths(raw: Mapping[str, Any], name: str) -> Config:
    """The complete configuration, with ~ and $VAR replaced in its paths."""
    schema = load_schema("config")
    try:
        values = with_whole_paths(typed(_renamed(raw, name), schema), schema)
    except InputError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(f"{name}: {error}") from error
    return _checked(values, name)


def changed_config(config: Mapping[str, Any], *changes: Mapping[str, Any], source: str) -> Config:
    """A complete configuration with changes put over it, key by key, later ones over earlier ones.

    Args:
        config: complete; it stays as it is.
        changes: sections that hold the changed keys alone.
        source: the name for errors.

    Raises:
        ConfigError: as in `complete_config`.
    """
    merged = deepcopy(_with_open_choices(config))
    for change in changes:
        _merge(merged, _renamed(change, source))
    return complete_config(merged, source=source)


def with_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that an earlier version wrote down, under the current names of its keys."""
    return _renamed(config, "configuration")


def select(config: Mapping[str, Any], stage: str) -> Selection:
    """The part of a complete configuration, or of that part itself, that a stage may read (see SECTIONS).

    Losses that the run has nothing for have no weight, and their defaults: nothing of them is read. Sections
    for methods that are not served, and for a student those of other methods, are left out.
    """
    unserved = _unserved(config) if "serves" in SECTIONS[stage] else set()
    if stage == "student":
        unserved = _of_other_methods(config)
    chosen: dict[str, Any] = {}
    for path in SECTIONS[stage]:
        section, _, key = path.partition(".")
        if section in unserved:
            continue
        if key:
            chosen.setdefault(section, {})[key] = config[section][key]
        else:
            chosen[section] = deepcopy(config[section])
    for loss in losses_off(config) & chosen.keys():
        chosen[loss] = {**_fill({}, load_schema("config")["properties"][loss]), "weight": 0.0}
    return cast("Selection", chosen)  # mypy cannot follow sections that are looked up by name


def _unserved(config: Mapping[str, Any]) -> set[str]:
    """The sections that are read for methods which manifest and flow do not serve."""
    return {section for section, method in READ_FOR.items() if method not in config["serves"]}


def _of_other_methods(config: Mapping[str, Any]) -> set[str]:
    """The sections that a student of this configuration, or of this part of one, does not read."""
    method = "two_stream" if config["supervision"] == "tags" else config.get("method", "weclick")
    return {section for section, of in STUDENT_READS_WITH.items() if of != method}


def _fill(given: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The given values with the defaults filled in, in the schema's order."""
    complete = {}
    for key, part in schema["properties"].items():
        value = given.get(key, deepcopy(part["default"]))
        complete[key] = _fill(value, part) if "properties" in part else value
    return complete


def _renamed(given: Mapping[str, Any], source: str, path: str = "") -> dict[str, Any]:
    """The same values under the current names of keys.

    Every section becomes a dict of its own. A YAML alias makes one dict of two sections, and an override of
    one would then change the other.
    """
    renamed = {}
    for key, value in given.items():
        old = f"{path}{key}"
        if old in RENAMED and old != key:  # not where a key itself is spelled with a dot
            key = _name_now(old).rpartition(".")[2]
            if str(given.get(key, value)) != str(value):  # as texts, since Snakemake may give 8 as '8'
                raise ConfigError(
                    f"{source}: {old} is {value!r}, but {RENAMED[old]}, its name now, is {given[key]!r}; "
                    f"leave {old} out"
                )
        renamed[key] = _renamed(value, source, f"{old}.") if isinstance(value, Mapping) else value
    return renamed


def _name_now(path: str) -> str:
    now = RENAMED.get(path, path)
    if now != path:
        _hint(path, now)
    return now


@cache
def _hint(old: str, now: str) -> None:
    """Tell a key's new name, once in a process."""
    print(f"weclick: {old} is now {now}; rename it, the old name is still read", file=sys.stderr)


def _override(raw: dict[str, Any], text: str) -> None:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"override {text!r} is not of the form section.key=value, e.g. student.steps=500")
    *sections, key = _name_now(path).split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise ConfigError(
                f"override {text!r}: {section} holds the value {resolved(raw)!r}, it is no section"
            )
    try:
        raw[key] = parse_yaml(value, f"override {text!r}")
    except InputError as error:
        raise ConfigError(str(error)) from error


def _check_version(found: Any, source: str) -> None:
    if found == VERSION and not isinstance(found, bool):
        return
    raise ConfigError(
        f"{source}: version is {found!r}, but this weclick reads version {VERSION}; compare the file with "
        f"config/demo.yaml and CHANGELOG.md, correct its keys and set version: {VERSION}, or install the "
        "weclick that it was written for"
    )
