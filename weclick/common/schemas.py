"""The schemas of `data_schema/`, and values checked against them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend


def schema_path(name: str) -> Path:
    """The path of a schema of `data_schema/`, in a checkout or in an installed package."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "data_schema", here.parent / "data_schema"):
        if (folder / f"{name}.schema.json").is_file():
            return folder / f"{name}.schema.json"
    raise FileNotFoundError(
        f"data_schema/{name}.schema.json is neither in {here} nor beside it; reinstall weclick"
    )


def load_schema(name: str) -> dict[str, Any]:
    """A schema of `data_schema/`, e.g. config, manifest, clicks, flow."""
    return json.loads(schema_path(name).read_text(encoding="utf-8"))


def schema_fault(value: Any, name: str) -> str:
    """The worst fault of a value by a schema of `data_schema/`, and its place; empty if there is none."""
    try:
        fault = best_match(validator(name).iter_errors(value))
        if fault is None:
            return ""
        told = fault.message  # begins with the value, which may be long
        told = told if len(told) <= 200 else f"{told[:80]} ... {told[-120:]}"
        return f"{'/'.join(map(str, fault.path)) or 'top level'}: {told}"
    except RecursionError:
        return "its values are nested too deep"


@cache
def validator(name: str) -> Validator:
    """What checks values by a schema of `data_schema/`."""
    return _Whole(load_schema(name))


def _pattern(_: Validator, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    r"""A `$` that ends a pattern is the end of the text, as JSON Schema means it; Python lets a \n follow."""
    whole = f"{pattern[:-1]}\\Z" if pattern.endswith("$") else pattern
    if isinstance(value, str) and not re.search(whole, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Whole = extend(Draft202012Validator, {"pattern": _pattern})
