"""Arms that differ in the value of one key alone, as lines over that value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from weclick.common.digest import canonical_json
from weclick.common.flat import flatten, is_number

Line = dict[float, str]
"""Value of the key -> name of the arm that has it, values rising."""


def lines(key: str, arms: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> dict[str, Line]:
    """Put arms that differ in nothing but a key on one line.

    Args:
        key: section and key, e.g. annotation.minutes.
        arms: name -> its description in a summary.
        config: that all arms change.

    Returns:
        The lines by name, which is what the names of their arms begin with. Arms whose value of the key is no
        number are on none.
    """
    found: dict[str, Line] = {}
    shared = dict(flatten(config)).get(key)
    for name, arm in arms.items():
        changes = dict(flatten(arm["change"]))
        value = changes.pop(key, shared)
        if not arm.get("as") and is_number(value):
            found.setdefault(canonical_json([changes, arm["scores"]]), {})[float(value)] = name
    named: dict[str, Line] = {}
    for line in found.values():
        names = list(line.values())
        name = _shared_name(names)
        named[names[0] if name in named else name] = dict(sorted(line.items()))
    return named


def _shared_name(arms: Sequence[str]) -> str:
    """What names begin with; the whole of a single one."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*arms, strict=False))
    beginning = "".join(letters[0] for letters in same)
    return arms[0] if len(arms) == 1 else beginning.rstrip("_-") or arms[0]
