"""The schemas of `data_schema/`, and values checked against them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match


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
        fault = best_match(_validator(name).iter_errors(value))
        if fault is None:
            return ""
        told = fault.message  # begins with the value, which may be long
        told = told if len(told) <= 200 else f"{told[:80]} ... {told[-120:]}"
        return f"{'/'.join(map(str, fault.path)) or 'top level'}: {told}"
    except RecursionError:
        return "its values are nested too deep"


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(load_schema(name))
