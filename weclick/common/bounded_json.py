"""JSON that others wrote. Its size is bounded before it is parsed, and its depth before anybody walks it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from weclick.common.disk import read_plain
from weclick.common.words import count_bytes

JSON_BYTES = 64 * 2**20
"""The longest JSON that is parsed."""

PARSED_BYTES = 320 * 2**20
"""The memory that values may take when they are parsed."""

DEPTH = 32
"""How deep values may nest. Recursive functions fail only far deeper."""

_NESTED = (dict, list)
_TOO_DEEP = f"it is nested deeper than {DEPTH} levels"
_COSTS = {b"{": 200, b"[": 90, b",": 24, b'"': 18, b":": 60}
"""Bytes of memory, at most, for each sign of JSON: objects, lists and their slots. Measured on CPython."""


SMALLER_FILES = "more shards (data.shards) make smaller files"
"""What to do about a result of a stage that is too large."""


def read_bounded(path: Path, most: int = JSON_BYTES, todo: str = "") -> bytes:
    """The content of a file.

    Args:
        path: of the file.
        most: bytes that are read.
        todo: what makes smaller files, for the error.

    Raises:
        ValueError: it is longer than `most` bytes.
        OSError: it cannot be read.
    """
    data = read_plain(path, at_most=most + 1, links=True)
    if len(data) > most:
        raise ValueError(
            f"it is longer than {count_bytes(most)}, the most that is read" + (f"; {todo}" if todo else "")
        )
    return data


def parse_json(data: bytes, todo: str = SMALLER_FILES) -> Any:
    """The value of a JSON text in UTF-8.

    Args:
        data: the text.
        todo: what makes smaller files, for the error.

    Raises:
        ValueError: it is no JSON, nests deeper than DEPTH, or takes more memory than PARSED_BYTES.
    """
    needed = 30 * len(data)  # no text takes more
    if needed > PARSED_BYTES:
        needed = _width(data) * len(data) + sum(data.count(sign) * cost for sign, cost in _COSTS.items())
    if len(data) > JSON_BYTES or needed > PARSED_BYTES:
        raise ValueError(
            f"it has {count_bytes(len(data))} and takes up to {count_bytes(needed)} of memory; at most "
            f"{count_bytes(JSON_BYTES)} and {count_bytes(PARSED_BYTES)} are read; {todo}"
        )
    try:
        value = json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if not is_flat(value):
        raise ValueError(_TOO_DEEP)
    return value


def _width(data: bytes) -> int:
    """Bytes for a letter, in the text and in a value: one emoji makes all letters of its text as long."""
    if data.isascii():
        return 2
    return 8 if re.search(rb"[\xf0-\xff]", data) else 4


def is_flat(value: Any) -> bool:
    """Whether lists and objects nest at most DEPTH deep."""
    nested, depth = [value] if type(value) in _NESTED else [], 0
    while nested and depth < DEPTH:
        nested = [
            inner
            for part in nested
            for inner in (part.values() if type(part) is dict else part)
            if type(inner) in _NESTED
        ]
        depth += 1
    return not nested
