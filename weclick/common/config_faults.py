"""Words for what is wrong with the values of a configuration."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

from jsonschema.exceptions import ValidationError

from weclick.common.yaml_files import is_ambiguous

_CONTROLS = "write a text that is not empty, without line breaks or other control characters"


def not_finite(values: Any) -> Iterator[tuple[str, float]]:
    """Path and value of every NaN, infinity and integer beyond all floats; a schema does not refuse these."""
    for path, value in leaves(values):
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            yield path, math.inf
        if isinstance(value, float) and not math.isfinite(value):
            yield path, value


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of all that is in sections and lists."""
    yield path, values
    inner = (
        values.items()
        if isinstance(values, Mapping)
        else enumerate(values if isinstance(values, list) else ())
    )
    for key, value in inner:
        yield from leaves(value, f"{path}.{key}" if path else str(key))


def explain(error: ValidationError) -> str:
    """An error of the schema in words: where it is, what was found and what was expected."""
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
    if error.validator == "pattern":
        return f"{where}: {str(error.instance)[:200]!r} is refused; {schema.get('$comment', _CONTROLS)}"
    message = _short(error.message)
    if error.instance is None:  # jsonschema writes it as Python does
        message = f"holds nothing (null), which {message.removeprefix('None ')}"
    text = f"{where}: {message}{_hint_of(error.instance, schema)}"
    return text + (f" ({description})" if description else "")


def _short(message: str) -> str:
    """A message of the schema, which begins with the value, which may be long."""
    return message if len(message) <= 400 else f"{message[:200]} ... {message[-150:]}"


def _hint_of(value: Any, schema: Mapping[str, Any]) -> str:
    """What to write instead of a value that people take for another than YAML does."""
    kinds = schema.get("type", ())
    if isinstance(value, str) and is_ambiguous(value) and "string" not in kinds:
        return (
            "; some readers of YAML take such a number for another one: write it without a leading 0 or ':'"
        )
    quoted = "put quotes around it if it is a name" if "string" in kinds else ""
    if value is None:
        return "; give a value or leave it out" + (f", or {quoted}" if quoted else "")
    return f"; {quoted}" if quoted and isinstance(value, bool) else ""
