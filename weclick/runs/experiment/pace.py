"""Trainings of equal wall time: how many steps fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def steps_for_seconds(card: Mapping[str, Any], seconds: float) -> int:
    """Number of steps that a training runs in `seconds`, at the pace of its model card."""
    return max(1, round(card["steps"] * seconds / card["train_seconds"]))
