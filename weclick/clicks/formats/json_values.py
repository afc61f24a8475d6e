"""Values of JSON that others wrote, with the type that is expected of them."""

from __future__ import annotations

from typing import Any

from weclick.common.errors import InputError


def objects(value: Any, where: str) -> list[dict[str, Any]]:
    """A list of objects; an empty one where the file has null.

    Args:
        value: of the file.
        where: the file and key, for the error.

    Raises:
        InputError: it is something else.
    """
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InputError(f"{where}: expected a list of objects; export the file again")
    return value


def mapping(value: Any, where: str) -> dict[str, Any]:
    """An object; an empty one where the file has null. Args and Raises as in `objects`."""
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object; export the file again")
    return value


def text(value: Any) -> str:
    """A text, or a number as text; empty for anything else."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
