"""The schemas of `data_schema/`, and values checked against them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from weclick.common.column_check import first_fault, whole_pattern
from weclick.common.shipped import shipped

EXPLAINED = 10**6
"""Letters of a value up to which the library looks for its worst fault. A long one would take it minutes."""


def schema_path(name: str) -> Path:
    """The path of a schema of `data_schema/`, in a checkout or in an installed package."""
    return shipped(f"data_schema/{name}.schema.json")


def load_schema(name: str) -> dict[str, Any]:
    """A schema of `data_schema/`, e.g. config, manifest, clicks, flow."""
    return json.loads(schema_path(name).read_text(encoding="utf-8"))


def schema_fault(value: Any, name: str, part: str = "") -> str:
    """The worst fault of a value by a schema of `data_schema/`, and its place; empty if there is none.

    Args:
        value: parsed JSON, no deeper than `parse_json` lets through.
        name: of the schema.
        part: the property of the schema's values that is checked; empty checks a whole one.
    """
    schema = _schema(name, part)
    if not (fault := first_fault([value], schema, schema)):
        return ""
    if len(repr(value)) > EXPLAINED:
        return fault
    worst = best_match(_Whole(schema).iter_errors(value))
    if worst is None:
        return fault
    told = worst.message  # begins with the value, which may be long
    told = told if len(told) <= 200 else f"{told[:80]} ... {told[-120:]}"
    return f"{'/'.join(map(str, worst.absolute_path)) or 'top level'}: {told}"


@cache
def _schema(name: str, part: str) -> dict[str, Any]:
    whole = load_schema(name)
    return {"$defs": whole.get("$defs", {}), **whole["properties"][part]} if part else whole


@cache
def validator(name: str) -> Validator:
    """What checks values by a schema of `data_schema/`."""
    return _Whole(load_schema(name))


def _pattern(_: Validator, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not whole_pattern(pattern).search(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Whole = extend(Draft202012Validator, {"pattern": _pattern})
