"""One line of the log of clicks: what it may say, and the click that it tells of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weclick.common.bounded_json import parse_json

SOURCES = ("human", "import", "ghost")
"""Where a click in the log comes from. A ghost is an earlier click, carried along the flow and confirmed."""

LINE_BYTES = 64 * 2**10
SCRIBBLE_POINTS = 2_000
_SIDE_PX = 2**26  # no frame has a longer side, see weclick.manifest.upright
_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII)
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_TEXT_LETTERS = {"time": 40, "clip": 255, "frame": 255, "class": 255, "source": 10, "who": 100, "tool": 100}
_MAY_BE_EMPTY = ("who", "tool")


@dataclass(frozen=True)
class LoggedClick:
    """A click or scribble of the log. Coordinates are px of the upright frame at its full size, from 0.

    Attributes:
        id: a UUID.
        time: when, as ISO 8601 in UTC.
        clip: as the manifest spells it.
        frame: as the manifest spells it.
        y: down; of a scribble its first point's.
        x: to the right; of a scribble its first point's.
        class_name: of the classes file.
        source: one of SOURCES.
        who: made it; empty where nobody said.
        tool: that wrote it.
        points: (y, x) along a scribble, at least two; none for a click.
    """

    id: str
    time: str
    clip: str
    frame: str
    y: int
    x: int
    class_name: str
    source: str
    who: str
    tool: str
    points: tuple[tuple[int, int], ...] = ()


def parse_event(line: bytes) -> dict[str, Any]:
    """The event of a line of the log.

    Raises:
        ValueError: it is none, with what is wrong with it.
    """
    if len(line) > LINE_BYTES:
        raise ValueError(f"it has {len(line)} bytes, expected at most {LINE_BYTES}")
    event = parse_json(line)
    if not isinstance(event, dict):
        raise ValueError(f"it holds a {type(event).__name__}, expected an object")
    check_event(event)
    return event


def check_event(event: Mapping[str, Any]) -> None:
    """Check what an event says. Keys that are not known do not count.

    Raises:
        ValueError: a value is missing or none that the log holds.
    """
    _check_id(event, "id")
    if "undo" in event:
        _check_id(event, "undo")
        _check_texts(event, ("time", "who"))
        return
    _check_texts(event, tuple(_TEXT_LETTERS))
    if event["source"] not in SOURCES:
        raise ValueError(f"its source is {event['source']!r}, expected one of {', '.join(SOURCES)}")
    points = event["points"] if "points" in event else [[event.get("y"), event.get("x")]]
    if not isinstance(points, list | tuple) or not all(map(_is_place, points)):
        raise ValueError(f"its place is {str(points)[:80]}, expected whole px y and x from 0")
    if "points" in event and not 2 <= len(points) <= SCRIBBLE_POINTS:
        raise ValueError(f"its scribble has {len(points)} points, expected 2 to {SCRIBBLE_POINTS}")


def click_of(event: Mapping[str, Any]) -> LoggedClick:
    """The click that a checked event tells of; an event that undoes one tells of none."""
    places = tuple((int(y), int(x)) for y, x in event.get("points", ()))
    y, x = places[0] if places else (event["y"], event["x"])
    told = {name: event.get(name, "") for name in ("id", "time", "clip", "frame", "source", "who", "tool")}
    return LoggedClick(y=y, x=x, class_name=event["class"], points=places, **told)


def _check_id(event: Mapping[str, Any], name: str) -> None:
    value = event.get(name)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError(f"its {name} is {value!r:.80}, expected a UUID in small letters")


def _check_texts(event: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        value = event.get(name, "")
        most = _TEXT_LETTERS[name]
        if not isinstance(value, str) or len(value) > most or CONTROLS.search(value):
            raise ValueError(f"its {name} is {value!r:.80}, expected a text of at most {most} letters")
        if not value and name not in _MAY_BE_EMPTY:
            raise ValueError(f"it has no {name}")


def _is_place(place: Any) -> bool:
    is_pair = isinstance(place, list | tuple) and len(place) == 2
    return is_pair and all(type(value) is int and 0 <= value < _SIDE_PX for value in place)
