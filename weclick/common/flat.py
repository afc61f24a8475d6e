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


def spell(value: Any) -> str:
    """A value of the configuration as YAML would have it on one line."""
    return value if isinstance(value, str) else json.dumps(value)
