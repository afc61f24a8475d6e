"""The clicks that all see: the log on disk in the page's words, and what is refused before it is written."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from weclick import __version__
from weclick.manifest.click_event import check_event
from weclick.manifest.click_log import ClickLog
from weclick.runs.ask.answers import ask_of, checked_ask, is_void
from weclick.runs.click.media import Media

TOOL = f"weclick click {__version__}"
NEAR_PX = 6
"""Two clicks of a class nearer than this on one frame are one click made twice, as a rule."""

OLDEST_MS = 30 * 24 * 3600 * 1000
"""A click may have waited so long in a page while the server was away."""

Event = dict[str, Any]


class Board:
    """All events of the log as the page takes them, and a way to add some. Threads take turns.

    What is said of a clip, frame or class that is not here has no place on the page; it is counted.

    Args:
        log: of the data set.
        media: what is shown.

    Raises:
        InputError: the log is damaged.
    """

    def __init__(self, log: ClickLog, media: Media) -> None:
        self._log, self._media = log, media
        self._lock = threading.Lock()
        self._classes = {name: i for i, name in enumerate(media.classes.names)}
        self._begin()
        self.look()

    def look(self) -> None:
        """Take what others appended.

        Raises:
            InputError: the log is damaged.
        """
        with self._lock:
            self._log.read_on()
            self._take()

    def since(self, generation: str, count: int) -> dict[str, Any]:
        """The events behind the first `count` ones, or all of them if the log was replaced meanwhile."""
        with self._lock:
            begin = min(count, len(self._events)) if generation == self._generation else 0
            return {
                "generation": self._generation,
                "begin": begin,
                "events": self._events[begin:],
                "elsewhere": self._elsewhere,
            }

    def near(self, clip: int, frame: int, reach: int) -> list[Event]:
        """Clicks that count on a clip's frames at most `reach` away from a frame."""
        with self._lock:
            return [
                click
                for key, click in self._clicks.items()
                if key not in self._undone and click["clip"] == clip and abs(click["frame"] - frame) <= reach
            ]

    def has_click(self, clip: int, frame: int, y: int, x: int) -> bool:
        """Whether a click that counts lies on this very pixel."""
        with self._lock:
            click = self._pixels.get((clip, frame, y, x))
            return click is not None and click["id"] not in self._undone

    def logged(self) -> list[Event]:
        """All events so far, as the log spells them."""
        with self._lock:
            return list(self._log.events)

    def add(self, who: str, wishes: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """Write down what counts of a page's wishes, and sync it to the disk.

        Args:
            who: asks.
            wishes: clicks and undos as the page tells them.

        Returns:
            For each wish its id, and why it was refused: an empty text if it is on disk.

        Raises:
            InputError, OSError: nothing was written.
        """
        with self._lock:
            self._log.read_on()
            self._take()
            events: list[Event] = []
            answers = []
            for wish in wishes:
                key = str(wish.get("id"))
                known = key in self._log.known or any(key == event["id"] for event in events)
                why = "" if known else self._fault(who, wish)
                if not known and not why:
                    events.append(self._event(who, wish))
                    self._told(events[-1])  # so that the next wish sees it
                answers.append({"id": key[:40], "refused": why})
            try:
                self._log.append(events)
            except BaseException:
                self._begin(self._generation)
                raise
            finally:
                self._take()
            return answers

    def _fault(self, who: str, wish: Mapping[str, Any]) -> str:
        """Why a wish is refused, in words for the person; empty if it is not."""
        if "undo" in wish:
            return self._undo_fault(who, wish) or self._event_fault(who, wish)
        number = wish.get("class")
        place: Any = wish.get("clip"), wish.get("frame")
        if not all(type(part) is int for part in place) or not self._media.has(place):
            return "there is no such frame"
        if type(number) is not int or not 0 <= number < len(self._classes):
            return "there is no such class"
        if wish.get("source", "human") not in ("human", "ghost"):
            return "a page makes clicks and confirms ghosts, and nothing else"
        if why := self._event_fault(who, wish):
            return why
        points = wish["points"] if "points" in wish else [[wish["y"], wish["x"]]]
        height, width = self._media.size(place)
        if not all(y < height and x < width for y, x in points):
            return f"it lies outside of the frame, which is {height}x{width} px (HxW)"
        there = self._pixels.get((*place, *points[0])) if "y" in wish else None
        if there is not None and there["id"] not in self._undone:
            # two clicks on one pixel repeat or contradict each other, and no training takes them
            return f"there is a click of {self._media.classes.names[there['class']]} on this very pixel"
        return ""

    def _undo_fault(self, who: str, wish: Mapping[str, Any]) -> str:
        if is_void(wish):
            ask = ask_of(wish)
            place = self._media.place(ask["clip"], ask["frame"]) if ask else None
            return "" if place else "there is no such frame"
        maker = self._makers.get(str(wish["undo"]))
        if maker is None:
            return "there is no such click"
        if maker != who:
            return f"only {maker or 'whoever made it'} can take this click back"
        return ""

    def _event_fault(self, who: str, wish: Mapping[str, Any]) -> str:
        try:
            check_event(self._event(who, wish))
        except (KeyError, ValueError) as error:
            return f"it is no click: {error}"
        return ""

    def _event(self, who: str, wish: Mapping[str, Any]) -> Event:
        """A wish as the log spells it."""
        head = {"id": wish.get("id"), "time": _time(wish.get("age_ms"))}
        if "undo" in wish:
            void = {"ask": checked_ask(wish["ask"], with_place=True)} if is_void(wish) else {}
            return head | {"undo": wish["undo"], "who": who} | void
        clip, frame = self._media.names((wish["clip"], wish["frame"]))
        where = {"points": wish["points"]} if "points" in wish else {"y": wish["y"], "x": wish["x"]}
        name, source = self._media.classes.names[wish["class"]], wish.get("source", "human")
        what = {"class": name, "source": source, "who": who, "tool": TOOL}
        asked = {"ask": checked_ask(wish["ask"], with_place=False)} if "ask" in wish else {}
        return head | {"clip": clip, "frame": frame} | where | what | asked

    def _begin(self, generation: str = "") -> None:
        """Forget all. A generation ends when the log was replaced; then pages begin anew, too."""
        self._generation = generation or secrets.token_hex(4)
        self._taken, self._source = 0, self._log.events
        self._events: list[Event] = []
        self._elsewhere = 0
        self._clicks: dict[str, Event] = {}
        self._makers: dict[str, str] = {}  # of clicks, and of what could not be told
        self._undone: set[str] = set()
        self._pixels: dict[tuple[int, ...], Event] = {}

    def _take(self) -> None:
        """Bring what the log has read into the page's words."""
        if self._log.events is not self._source:
            self._begin()
        for event in self._log.events[self._taken :]:
            self._taken += 1
            told = self._told(event)
            if told is None:
                self._elsewhere += 1
            else:
                self._events.append(told)

    def _told(self, event: Mapping[str, Any]) -> Event | None:
        """An event with indexes for names, and remembered; None if it has no place here."""
        who = event.get("who", "")
        if "undo" in event:
            if is_void(event):
                self._makers[event["id"]] = who
            else:
                self._undone.add(event["undo"])
            return {"id": event["id"], "undo": event["undo"], "who": who}
        place = self._media.place(event["clip"], event["frame"])
        number = self._classes.get(event["class"])
        if place is None or number is None:
            return None
        where = {"points": event["points"]} if "points" in event else {"y": event["y"], "x": event["x"]}
        what = {"class": number, "source": event["source"], "who": who, "time": event["time"]}
        asked = {"ask": ask} if (ask := ask_of(event)) else {}
        click = {"id": event["id"], "clip": place[0], "frame": place[1]} | where | what | asked
        self._clicks[event["id"]], self._makers[event["id"]] = click, who
        if "y" in click:
            self._pixels[*place, click["y"], click["x"]] = click
        return click


def _time(age_ms: Any) -> str:
    """When a click was made that waited so long in the page, as ISO 8601 in UTC."""
    waited_ms = min(age_ms, OLDEST_MS) if type(age_ms) is int and age_ms > 0 else 0
    made = datetime.now(UTC) - timedelta(milliseconds=waited_ms)
    return made.isoformat(timespec="milliseconds").replace("+00:00", "Z")
