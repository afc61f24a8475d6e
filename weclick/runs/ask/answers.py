"""Answers in the log of clicks, and the accuracy that the random ones give.

An answer is a click with one more key, which readers of clicks do not look at:

    {"id": ..., "class": "car", ..., "ask": {"kind": "random", "predicted": "road", "net": "0f3a..."}}

"Cannot tell" is a line that takes itself back, so it is no click anywhere. It says what was asked:

    {"id": "<uuid>", "time": ..., "undo": "<the same uuid>", "who": "anna", "ask": {"kind": "random",
     "predicted": "road", "net": "0f3a...", "clip": "park", "frame": "00012", "y": 100, "x": 200}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from weclick.evaluate.shares import wilson
from weclick.manifest.click_event import CONTROLS

KINDS = ("margin", "random")
_NET = re.compile(r"[0-9a-f]{12}")
_NAME_LETTERS = 255
_SIDE_PX = 2**26

Place = tuple[str, str, int, int]
"""Clip, frame, y and x."""


class Honest(NamedTuple):
    """How often a network was right where it was asked at random.

    Attributes:
        net: the network.
        answers: that people gave at random places. They could not tell at `void` others.
        hits: answers that are what the network had predicted.
        void: random places at which people could not tell.
        low, high: the 95 % interval of hits / answers; 0 and 1 without an answer.
    """

    net: str
    answers: int
    hits: int
    void: int
    low: float
    high: float

    @property
    def accuracy(self) -> float | None:
        """hits / answers; None without an answer."""
        return self.hits / self.answers if self.answers else None


def checked_ask(told: Any, *, with_place: bool) -> dict[str, Any]:
    """What a click or a "cannot tell" says of its question, without keys that are not known.

    Args:
        told: its `ask`.
        with_place: whether it has to name clip, frame, y and x: a click does that itself.

    Raises:
        ValueError: it says no such thing.
    """
    if not isinstance(told, Mapping) or told.get("kind") not in KINDS:
        raise ValueError(f"what asked it is {told!r:.80}, expected a kind of {' or '.join(KINDS)}")
    names = ("predicted", "clip", "frame") if with_place else ("predicted",)
    net = told.get("net")
    if not isinstance(net, str) or not _NET.fullmatch(net) or not all(_is_name(told.get(n)) for n in names):
        raise ValueError("what asked it lacks the name of its network, class or frame")
    kept = {name: told[name] for name in ("kind", "net", *names)}
    if with_place:
        if not all(type(told.get(n)) is int and 0 <= told[n] < _SIDE_PX for n in ("y", "x")):
            raise ValueError("what asked it has no place in whole px from 0")
        kept |= {"y": told["y"], "x": told["x"]}
    return kept


def ask_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """What asked for an event; empty if nothing did, or if another program means something else by it."""
    try:
        return checked_ask(event["ask"], with_place=is_void(event)) if "ask" in event else {}
    except ValueError:  # no line of ours
        return {}


def is_void(event: Mapping[str, Any]) -> bool:
    """Whether a line of the log says that somebody could not tell."""
    return "ask" in event and event.get("undo") == event["id"]


def void_places(events: Iterable[Mapping[str, Any]]) -> set[Place]:
    """The places at which somebody could not tell, and did not take that back."""
    events = list(events)
    undone = _undone(events)
    voids = (event for event in events if is_void(event) and event["id"] not in undone)
    asks = [ask for event in voids if (ask := ask_of(event))]
    return {(ask["clip"], ask["frame"], ask["y"], ask["x"]) for ask in asks}


def honest_accuracy(events: Sequence[Mapping[str, Any]]) -> list[Honest]:
    """The accuracy of each network that asked at random, in the order of the first answers.

    A network answers for the pixels of the frames that were looked at, and was asked before it learned from
    the answer.

    Args:
        events: of the log, in its order. What was taken back does not count.
    """
    undone = _undone(events)
    counts: dict[str, list[int]] = {}
    for event in events:
        ask = ask_of(event)
        if not ask or ask["kind"] != "random" or event["id"] in undone:
            continue
        count = counts.setdefault(ask["net"], [0, 0, 0])
        if is_void(event):
            count[2] += 1
        elif "class" in event:
            count[0] += 1
            count[1] += event["class"] == ask["predicted"]
    return [_honest(net, *count) for net, count in counts.items()]


def _undone(events: Iterable[Mapping[str, Any]]) -> set[str]:
    """The ids of what was taken back; what could not be told takes itself back, which does not count."""
    return {event["undo"] for event in events if "undo" in event and not is_void(event)}


def _honest(net: str, answers: int, hits: int, void: int) -> Honest:
    return Honest(net, answers, hits, void, *(wilson(hits, answers) if answers else (0.0, 1.0)))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _NAME_LETTERS and not CONTROLS.search(value)
