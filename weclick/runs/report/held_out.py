"""The parts of the page on held-out clicks: what networks hit of them, and how far the two agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weclick.common import words
from weclick.evaluate.scored import share_words
from weclick.runs.report.results import ROLES, Results


def cards(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> list[dict[str, str]]:
    """Large figures: held-out clicks hit by both networks, and their agreement; none where there are none."""
    made = []
    for role, scores in (("Student", student), ("Teacher", teacher)):
        if found := scores.get("held_out_clicks"):
            low, high = (words.percent(found[end]) for end in ("low", "high"))
            note = f"{low} to {high}, of {words.plural(found['clicks'], 'click')}"
            made.append(_card(f"{role}: held-out clicks hit", found["accuracy"], note))
    if found := student.get("agreement"):
        note = f"mIoU {words.percent(found['miou'])}, on {words.plural(found['frames'], 'frame')}"
        made.append(_card("Student agrees with teacher", found["pixels"], note))
    return made


def table(results: Results) -> dict[str, Any] | None:
    """Held-out clicks of each class and the share that is hit, with its interval; None without any."""
    scored = {role: results.scores(role) for role in ROLES}
    found = {
        role: scores["held_out_clicks"] for role, scores in scored.items() if "held_out_clicks" in scores
    }
    if "student" not in found:
        return None
    classes = zip(results.val.classes.names, results.val.classes.palette, strict=True)
    return {
        "roles": list(found),
        "clicks": words.plural(found["student"]["clicks"], "click"),
        "frames": words.plural(found["student"]["frames"], "frame"),
        "rows": [
            {
                "name": name,
                "color": f"rgb({' '.join(map(str, color))})",
                "clicks": words.count(found["student"]["per_class"].get(name, {}).get("clicks", 0)),
                "hit": [_share(shares, name) for shares in found.values()],
            }
            for name, color in classes
        ],
    }


def _share(found: Mapping[str, Any], name: str) -> str:
    share = found["per_class"].get(name)
    return share_words(share) if share else words.DASH


def _card(label: str, share: float, note: str) -> dict[str, str]:
    return {"label": label, "value": words.percent(share), "unit": "%", "note": note}
