"""A configuration as dotted names and values, for tables and comparisons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every leaf of a configuration."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def evenly(value: Any) -> Any:
    """The same values, spelled in one way: 20.0 is 20."""
    if isinstance(value, Mapping):
        return {key: evenly(part) for key, part in value.items()}
    if isinstance(value, list):
        return [evenly(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_number(value: Any) -> bool:
    """Whether a value of the configuration is a number, and no switch."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def spell(value: Any) -> str:
    """A value of the configuration as YAML would have it on one line."""
    return value if isinstance(value, str) else json.dumps(value)
