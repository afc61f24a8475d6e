"""The configuration: defaults from its JSON schema, values from YAML, errors that name the key."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from weclick.common.errors import InputError
from weclick.common.schemas import load_schema
from weclick.common.sections import Config, Selection
from weclick.common.stages import STAGES
from weclick.common.words import masked

VERSION = 1
"""Version of the configuration's keys and their meaning. It rises when an old file would mislead."""

SECTIONS = {stage.name: stage.reads for stage in STAGES}
"""What each stage reads of the configuration. A change there runs it again. The report shows all."""

RENAMED = {"flow.stride": "flow.stride_px"}
"""Old name of a key -> its name now, in the same section. The old one is still read, with a hint."""

_UNREADABLE = (OSError, yaml.YAMLError, ValueError, RecursionError)
"""What reading YAML may raise: ValueError for a date such as 2026-13-45, or for bytes that are no text."""


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
    schema = load_schema("config")
    values: dict[str, Any] = _typed(_renamed(given, source), schema)
    _check_version(values.get("version", VERSION), source)
    errors = sorted(Draft202012Validator(schema).iter_errors(values), key=lambda error: str(list(error.path)))
    told = [_explain(error) for error in errors]
    told += [f"{path}: {value} is not a finite number" for path, value in _not_finite(values)]
    told += [
        f"{path}: holds a password or a key, which command lines and reports would show; give it by "
        "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by an AWS profile"
        for path, value in _leaves(values)
        if isinstance(value, str) and masked(value) != value
    ]
    if told:
        raise ConfigError(masked(f"{source}: " + "; ".join(told)))
    return cast("Config", _fill(values, schema))  # it meets the schema, and the types are those of the schema


def check_masks(config: Config) -> None:
    """Check that the flow stage makes the masks that the student wants.

    Raises:
        ConfigError: `mfd.occlusion` names a mask that is not in `flow.masks`.
    """
    asked, made = config["mfd"]["occlusion"], config["flow"]["masks"]
    wanted = {"none": [], "both": ["forward_backward", "photometric"]}.get(asked, [asked])
    missing = [mask for mask in wanted if mask not in made]
    if missing and config["mfd"]["weight"]:
        raise ConfigError(
            f"mfd.occlusion is {asked!r}, but flow.masks is {made}; "
            f"set flow.masks: [{', '.join([*made, *missing])}], or another mfd.occlusion"
        )


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, or JSON text, and complete it.

    Args:
        source: path of a YAML file, or a text that begins with '{'.
        overrides: `section.key=value` texts, the values in YAML. They win, also under a key's old name.

    Raises:
        ConfigError: the source cannot be read, an override is malformed, or as in `complete_config`.
    """
    text = str(source)
    name = "configuration" if text.startswith("{") else text
    try:
        raw = yaml.safe_load(text if text.startswith("{") else Path(text).read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ConfigError(
            f"{name}: cannot be read, there is no such file; give --config a file such as config/demo.yaml"
        ) from error
    except _UNREADABLE as error:
        raise ConfigError(f"{name}: cannot be read as YAML ({error}); correct the place it names") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{name}: holds a {type(raw).__name__}, expected sections such as 'student:'")
    try:
        raw = _renamed(raw, name)
        for override in overrides:
            _override(raw, override)
        return complete_config(raw, source=name)
    except RecursionError as error:
        raise ConfigError(
            f"{name}: a section holds itself; write its values out instead of *alias"
        ) from error


def with_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that an earlier version wrote down, under the current names of its keys."""
    return _renamed(config, "configuration")


def select(config: Mapping[str, Any], stage: str) -> Selection:
    """The part of a complete configuration that a stage may read (see SECTIONS)."""
    chosen: dict[str, Any] = {}
    for path in SECTIONS[stage]:
        section, _, key = path.partition(".")
        if key:
            chosen.setdefault(section, {})[key] = config[section][key]
        else:
            chosen[section] = deepcopy(config[section])
    return cast("Selection", chosen)  # mypy cannot follow sections that are looked up by name


def _typed(given: Any, schema: Mapping[str, Any]) -> Any:
    """The same values, but texts become numbers, switches and nulls where the schema has no text.

    YAML 1.1 reads 1e-3 as a text, and Snakemake's --config leaves the values inside {...} as texts.
    """
    if isinstance(given, Mapping):
        parts, other = schema.get("properties", {}), schema.get("additionalProperties")
        rest = other if isinstance(other, Mapping) else {}
        return {key: _typed(value, parts.get(key, rest)) for key, value in given.items()}
    if isinstance(given, list):
        return [_typed(value, schema.get("items", {})) for value in given]
    if isinstance(given, float) and "integer" in schema.get("type", "") and given.is_integer():
        return int(given)  # 500.0 and 5e2 mean 500
    if not isinstance(given, str) or "type" not in schema or "string" in schema["type"]:
        return given
    with suppress(ValueError):
        return float(given) if "number" in schema["type"] else int(given)
    return {"true": True, "false": False, "null": None}.get(given.lower(), given)


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
            raise ConfigError(f"override {text!r}: {section} holds the value {raw!r}, it is no section")
    try:
        raw[key] = yaml.safe_load(value)
    except _UNREADABLE as error:
        raise ConfigError(f"override {text!r}: its value cannot be read as YAML ({error})") from error


def _check_version(found: Any, source: str) -> None:
    if found == VERSION and not isinstance(found, bool):
        return
    raise ConfigError(
        f"{source}: version is {found!r}, but this weclick reads version {VERSION}; compare the file with "
        f"config/demo.yaml and CHANGELOG.md, correct its keys and set version: {VERSION}, or install the "
        "weclick that it was written for"
    )


def _not_finite(values: Any) -> Iterator[tuple[str, float]]:
    """Path and value of every NaN and infinity; a schema does not refuse these."""
    for path, value in _leaves(values):
        if isinstance(value, float) and not math.isfinite(value):
            yield path, value


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of all that is in sections and lists."""
    yield path, values
    inner = (
        values.items()
        if isinstance(values, Mapping)
        else enumerate(values if isinstance(values, list) else ())
    )
    for key, value in inner:
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _explain(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.path) or "top level"
    schema = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "additionalProperties":
        known = list(schema["properties"])
        unknown = sorted({str(key) for key in cast("dict", error.instance)} - set(known))
        hints = [difflib.get_close_matches(key, known, n=1) for key in unknown]
        told = [
            f"{k!r}" + (f" (did you mean {h[0]!r}?)" if h else "")
            for k, h in zip(unknown, hints, strict=True)
        ]
        return f"unknown key {', '.join(told)} in {where}; known: {', '.join(known)}"
    description = schema.get("description", "")
    return f"{where}: {error.message}" + (f" ({description})" if description else "")
