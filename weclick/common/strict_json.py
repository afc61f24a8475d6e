"""JSON as every reader takes it: numbers that are not finite become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def strict_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """A value as JSON. NaN and infinity become null, since JSON has no such numbers and browsers refuse them.

    Args:
        value: of dicts, lists, tuples, texts, numbers and None.
        indent: as in `json.dumps`.
        sort_keys: as in `json.dumps`.

    Example:
        >>> strict_json({"miou": float("nan"), "frames": 2})
        '{"miou": null, "frames": 2}'
    """
    return json.dumps(_finite(value), indent=indent, sort_keys=sort_keys, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
