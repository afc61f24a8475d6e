"""What a check of people's data finds. `weclick doctor` lists it, and the stages of a run say it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from weclick.common.errors import InputError
from weclick.common.words import plural

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        level: ok; warning: a run works, but look at it; error: mend it before a run.
        what: the thing that was checked.
        found: the result in words, with values and files.
        todo: what to do; empty if there is nothing to do.
    """

    level: Level
    what: str
    found: str
    todo: str = ""


def many(level: Level, what: str, faults: Sequence[str], todo: str) -> Finding:
    """One finding for many faults of one kind; it names the first five that differ."""
    faults = [*dict.fromkeys(faults)]  # frames whose masks stand in one file tell the same fault of it
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    return Finding(level, what, f"{plural(len(faults), 'fault')}: " + "; ".join(faults[:5]) + more, todo)


def tell(findings: Iterable[Finding]) -> None:
    """Say on stderr what a stage found, one line a warning.

    Raises:
        InputError: one of the findings is an error.
    """
    for finding in findings:
        text = f"{finding.what}: {finding.found}" + (f"; {finding.todo}" if finding.todo else "")
        if finding.level == "error":
            raise InputError(text)
        if finding.level == "warning":
            print(f"weclick: warning: {text}", file=sys.stderr)
