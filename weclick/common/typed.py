"""Values of a file by their schema: numbers where it wants them, texts as written, paths with ~ and $VAR."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from weclick.common.errors import InputError
from weclick.common.schemas import validator
from weclick.common.yaml_files import NULLS, SWITCHES, Plain, number, resolved

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w*)\})")
PATH = "path"
"""`format` of the values in data_schema/config.schema.json that name a file or folder."""
CHANGES = "changes"
"""`format` of the values there that hold sections of a configuration."""


def typed(given: Any, schema: Mapping[str, Any]) -> Any:
    """The same values, but of the types that the schema names.

    A text without quotes stays as it was written where the schema wants a text. Elsewhere it becomes what it
    spells: a number, a switch, null. A float that is whole becomes an integer where the schema wants one. A
    text that spells no such thing stays, and the schema then refuses it. Where it wants an integer or a text,
    digits are an integer.

    Snakemake's --config gives all values inside {...} as texts, so texts with quotes are read alike.
    """
    if isinstance(given, Mapping):
        return {str(key): typed(value, part_of(schema, key)) for key, value in given.items()}
    if isinstance(given, list):
        return [typed(value, schema.get("items", {})) for value in given]
    kinds = _kinds(schema)
    if isinstance(given, Plain):
        return _of_plain(given, schema)
    if isinstance(given, float) and "integer" in kinds and given.is_integer():
        return int(given)  # 500.0 and 5e2 mean 500
    if isinstance(given, str) and _number_or_text(kinds):
        return _whole_or_text(given)
    if not isinstance(given, str) or not kinds or "string" in kinds:
        return given
    if given.lower() == "null" and "null" in kinds:
        return None
    return _of_text(given, kinds)


def paths_of(values: Any, schema: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, str]]:
    """Name and value of every path in a configuration: data.root, cache.roots.0, flow.options.weights."""
    if isinstance(values, str) and schema.get("format") == PATH:
        yield name, values
    for key, value, part in _parts(values, schema):
        yield from paths_of(value, part, f"{name}.{key}".lstrip("."))


def with_whole_paths(values: Any, schema: Mapping[str, Any], name: str = "") -> Any:
    """The same values with ~ and $VAR replaced in all paths.

    Raises:
        InputError: a variable is not set, or there is no such user. It names the key.
    """
    if isinstance(values, str) and schema.get("format") == PATH:
        return whole_path(values, name)
    parts = {
        key: with_whole_paths(value, part, f"{name}.{key}".lstrip("."))
        for key, value, part in _parts(values, schema)
    }
    if isinstance(values, Mapping):
        return parts
    return list(parts.values()) if isinstance(values, list) else values


def whole_path(path: str, name: str) -> str:
    """A path with ~ and $VAR replaced.

    Args:
        path: as a person writes it.
        name: of the key, for errors.

    Raises:
        InputError: as `with_whole_paths`.
    """

    def value(found: re.Match[str]) -> str:
        variable = found[1] or found[2]
        if not os.environ.get(variable):
            raise InputError(
                f"{name} is {path!r}, but the environment variable {variable!r} is not set; set it, or write "
                "the path out"
            )
        return os.environ[variable]

    whole = _VARIABLE.sub(value, path)
    try:
        return str(Path(whole).expanduser()) if whole.startswith("~") else whole
    except RuntimeError as error:
        raise InputError(f"{name} is {path!r}, but no such user is known here; write the path out") from error


def part_of(schema: Mapping[str, Any], key: Any) -> Mapping[str, Any]:
    """The schema of a value below a key; empty if the schema says nothing of it."""
    if schema.get("format") == CHANGES:
        schema = cast("Mapping[str, Any]", validator("config").schema)
    if key in schema.get("properties", {}):
        return schema["properties"][key]
    for pattern, part in schema.get("patternProperties", {}).items():
        if re.search(pattern, str(key)):
            return part
    other = schema.get("additionalProperties")
    return other if isinstance(other, Mapping) else {}


def _parts(values: Any, schema: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Mapping[str, Any]]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield key, value, part_of(schema, key)
    elif isinstance(values, list):
        for position, value in enumerate(values):
            yield position, value, schema.get("items", {})


def _kinds(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the types that a schema allows; none if it allows all."""
    if "type" in schema:
        return (schema["type"],) if isinstance(schema["type"], str) else tuple(schema["type"])
    texts = "enum" in schema and all(isinstance(value, str) for value in schema["enum"])
    return ("string",) if texts else ()


def _of_plain(given: Plain, schema: Mapping[str, Any]) -> Any:
    kinds = _kinds(schema)
    if given in NULLS:
        return None
    if schema.get("format") == PATH and given in SWITCHES:
        return SWITCHES[given]  # `pretrained: no` means no file of that name; the schema refuses it
    if _number_or_text(kinds):
        return _whole_or_text(given)
    if "string" in kinds and "array" not in kinds:
        return str(given)
    if "boolean" in kinds and given in SWITCHES:
        return SWITCHES[given]
    found = number(given) if kinds else resolved(given)
    if "integer" in kinds and isinstance(found, float) and found.is_integer():
        return int(found)
    return str(given) if kinds and found is None else found


def _number_or_text(kinds: tuple[str, ...]) -> bool:
    return {"integer", "string"} <= set(kinds)


def _whole_or_text(given: str) -> int | str:
    found = number(given)
    return found if isinstance(found, int) else str(given)


def _of_text(given: str, kinds: tuple[str, ...]) -> Any:
    """What a text means where the schema wants none; the text itself if it spells nothing of the kind."""
    if "boolean" in kinds:
        return {"true": True, "false": False}.get(given.lower(), given)
    found = number(given)
    if found is None or not {"number", "integer"} & set(kinds):
        return given
    if "number" in kinds:
        return float(found)
    return int(found) if isinstance(found, int) or found.is_integer() else given
