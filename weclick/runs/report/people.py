"""The part of the page on clicks that people made: who, when, where, how fast, and which to look at again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from weclick.clicks.agreement import LEAST_MATCHES, Agreement, agreements
from weclick.clicks.checks import double_words, few_words, near_doubles
from weclick.clicks.pace import Pace, clicked_at, pace_of
from weclick.clicks.placed import PlacedClick, placed_clicks
from weclick.clicks.review import Review, review
from weclick.common import words
from weclick.manifest.read import read_clip
from weclick.runs.report.figures import MAX_RUNS, Curve, curve_chart
from weclick.runs.report.people_pictures import suspect_gallery, where_picture
from weclick.runs.report.results import Results, require
from weclick.store import Store

SHOWN_CLIPS = 100
"""Rows of clips at most."""

MARKS = 200
"""Marks on a clip's line of time at most; more would cover each other."""


def section(results: Results, store: Store) -> dict[str, Any] | None:
    """What the template shows; None if people made no click.

    Args:
        results: of the run.
        store: holds the flow of a student that looks at it.

    Raises:
        ValueError: clicks or frames cannot be read.
    """
    clicks = placed_clicks(results.train, results.val) if results.train.click_file else []
    if not clicks:
        return None
    found = review(clicks)
    doubles = near_doubles(each.click for each in clicks if not each.is_scribble)
    learned = Counter(each.click.class_name for each in clicks if not each.is_held_out)
    few = few_words({name: learned[name] for name in results.train.classes.names})
    return {
        "count": _counted(clicks),
        "frames": words.plural(len({each.click[:2] for each in clicks}), "frame"),
        "clips": words.plural(len({each.clip.id for each in clicks}), "clip"),
        "held_out": words.count(sum(each.is_held_out for each in clicks)),
        "warnings": [told for told in (double_words(doubles), few) if told],
        "people": _people(clicks),
        "pace": _pace_chart(clicks),
        "origins": _origins(clicks),
        "classes": _classes(results, clicks, found),
        "clip_rows": _clips(clicks),
        "where": where_picture(clicks),
        "agreement": _agreement(results, store, clicks),
        "review": _review(found),
    }


def _counted(clicks: Sequence[PlacedClick]) -> str:
    lines = sum(each.is_scribble for each in clicks)
    points = words.plural(len(clicks) - lines, "click")
    return f"{points} and {words.plural(lines, 'scribble')}" if lines else points


def _by_person(clicks: Sequence[PlacedClick]) -> dict[str, list[PlacedClick]]:
    """Each person's clicks, of the busiest first."""
    counts = Counter(each.origin.who for each in clicks)
    ordered = sorted(counts, key=lambda who: (-counts[who], who))
    return {who: [each for each in clicks if each.origin.who == who] for who in ordered}


def _people(clicks: Sequence[PlacedClick]) -> list[dict[str, str]]:
    return [
        {
            "name": _name(who),
            "clicks": words.count(len(own)),
            "frames": words.count(len({each.click[:2] for each in own})),
            **_pace_words(pace_of(own)),
        }
        for who, own in _by_person(clicks).items()
    ]


def _pace_words(pace: Pace | None) -> dict[str, str]:
    if pace is None:
        return dict.fromkeys(("minutes", "per_minute", "median"), words.DASH)
    return {
        "minutes": f"{pace.minutes:.1f}",
        "per_minute": f"{pace.per_minute:.1f}",
        "median": f"{pace.median_s:.1f}",
    }


def _pace_chart(clicks: Sequence[PlacedClick]) -> str:
    """Clicks so far over the minutes that a person clicked; empty if no times are known."""
    curves: dict[str, Curve] = {}
    names = []
    for who, own in _by_person(clicks).items():
        pace = pace_of(own)
        if pace and len(curves) < MAX_RUNS:
            curves[f"run-{len(curves)}"] = pace.at_minutes, range(1, len(pace.at_minutes) + 1)
            names.append(_name(who))
    alt = f"Clicks so far over the minutes of clicking, of {', '.join(names)}"
    return curve_chart(curves, name="pace", alt=alt, axis="minutes of clicking") if curves else ""


def _origins(clicks: Sequence[PlacedClick]) -> list[tuple[str, str, str]]:
    counts = Counter((each.origin.source, each.origin.tool) for each in clicks)
    return [(source, tool or words.DASH, words.count(n)) for (source, tool), n in counts.most_common()]


def _classes(results: Results, clicks: Sequence[PlacedClick], found: Review) -> list[dict[str, Any]]:
    learned = Counter(each.class_id for each in clicks if not each.is_held_out)
    scored = Counter(each.class_id for each in clicks if each.is_held_out)
    listed = Counter(suspect.click.class_id for suspect in found.suspects)
    minutes = sum(pace.minutes for own in _by_person(clicks).values() if (pace := pace_of(own)))
    largest = max(learned.values(), default=1)
    return [
        {
            "name": name,
            "color": f"rgb({' '.join(map(str, color))})",
            "share": learned[i] / largest,
            "learned": words.count(learned[i]),
            "scored": words.count(scored[i]),
            "per_minute": f"{_timed(clicks, i) / minutes:.1f}" if minutes else words.DASH,
            "listed": words.count(listed[i]),
        }
        for i, (name, color) in enumerate(
            zip(results.train.classes.names, results.train.classes.palette, strict=True)
        )
    ]


def _timed(clicks: Sequence[PlacedClick], class_id: int) -> int:
    return sum(each.class_id == class_id and clicked_at(each) is not None for each in clicks)


def _clips(clicks: Sequence[PlacedClick]) -> dict[str, Any]:
    """Rows of clips, and the marks of their clicked frames along the clip, in per cent of its length."""
    by_clip: dict[str, list[PlacedClick]] = {}
    for each in clicks:
        by_clip.setdefault(each.clip.id, []).append(each)
    rows = [
        {
            "name": name,
            "clicks": words.count(len(own)),
            "frames": words.count(len({each.click.frame for each in own})),
            "marks": _marks(own),
        }
        for name, own in sorted(by_clip.items())
    ]
    return {"rows": rows[:SHOWN_CLIPS], "left_out": max(len(rows) - SHOWN_CLIPS, 0)}


def _marks(clicks: Sequence[PlacedClick]) -> list[str]:
    numbers = [
        frame.number for each in {id(c.clip): c.clip for c in clicks}.values() for frame in each.frames
    ]
    first, length = min(numbers), max(max(numbers) - min(numbers), 1)
    at = sorted(
        {round(100 * (each.clip.frames[each.position].number - first) / length, 1) for each in clicks}
    )
    return [f"{place:g}" for place in at[:: -(-len(at) // MARKS)]]


def _agreement(results: Results, store: Store, clicks: Sequence[PlacedClick]) -> list[dict[str, str]]:
    """Every two people who clicked on the same frames; the student's prediction makes the segments."""
    people = {each.origin.who for each in clicks}
    if len(people) < 2 or results.role != "student":  # a detector gives pixels no class
        return []
    from weclick.evaluate.motion import stored_stacks
    from weclick.models.inference import fused_for_inference, predict
    from weclick.store.model_file import load_model

    student, card = load_model(require(results.layout.weights("student"), "student"), with_motion=True)
    model = fused_for_inference(student)
    stacks = {
        manifest.split: stored_stacks(
            card.motion, store, results.stack.get(manifest.split, {}), manifest.clips
        )
        for manifest in (results.train, results.val)
    }

    def segments(click: PlacedClick) -> np.ndarray:
        (image,) = read_clip(click.manifest, click.clip.restrict([click.position]))
        return predict(model, image, stack=stacks[click.manifest.split](click.clip, click.position)).numpy()

    return [_agreement_row(each) for each in agreements(clicks, segments)]


def _agreement_row(found: Agreement) -> dict[str, str]:
    few = f"needs {LEAST_MATCHES} matches" if found.matches < LEAST_MATCHES else words.DASH
    return {
        "people": " and ".join(map(_name, found.people)),
        "frames": words.count(found.frames),
        "clicks": words.count(found.clicks),
        "matches": words.count(found.matches),
        "matched": words.percent(found.matched),
        "kappa": few if found.kappa is None else f"{found.kappa:.2f}",
    }


def _review(found: Review) -> dict[str, Any]:
    shown = suspect_gallery(found.suspects)
    return {
        "count": len(found.suspects),
        "clicks": words.count(found.clicks),
        "judged": words.count(found.judged),
        "agreed": words.percent(found.agreed),
        "found": words.percent(found.found),
        "is_blind": found.is_blind,
        "pictures": shown,
        "left_out": len(found.suspects) - len(shown),
    }


def _name(who: str) -> str:
    return who or "unnamed"
