"""A detector's scores in words. No torch is loaded, so that a workflow may say them at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weclick.common import words
from weclick.common.load import busy_words


def told(figures: Mapping[str, Any]) -> str:
    """A detector's scores in one line for the terminal."""
    found = figures["instances"]
    parts = [f"detector: AP50 {words.percent(found['AP50'])} %, AP {words.percent(found['AP'])} %"]
    if words.known(found["temporal_consistency"]):
        parts.append(f"temporal consistency {words.percent(found['temporal_consistency'])} %")
    if words.known(found["video"].get("AP50")):
        parts.append(f"video AP50 {words.percent(found['video']['AP50'])} %")
    speed = f"{words.rate(figures['fps'])} frames/s on {figures['device']}"
    return ", ".join([*parts, " ".join(filter(None, [speed, busy_words(figures["speed"])]))])
