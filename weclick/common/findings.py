"""What a check of people's data finds. `weclick doctor` lists it, and the stages of a run say it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from weclick.common.errors import InputError

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
    """One finding for many faults of one kind; it names the first five."""
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    return Finding(level, what, f"{len(faults)} faults: " + "; ".join(faults[:5]) + more, todo)


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
