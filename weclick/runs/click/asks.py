"""What the page is to ask: the places that `weclick ask` proposed and that have no answer yet."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from weclick.common.digest import file_digest
from weclick.common.errors import InputError
from weclick.runs.ask.answers import honest_accuracy, void_places
from weclick.runs.ask.ask_list import AskList, NamedAsk, read_asks
from weclick.runs.click.board import Board
from weclick.runs.click.media import Media, Place

Stamp = tuple[int, int, int]


class Asks:
    """The list of a data set, read again when it changed.

    Args:
        path: of the list, which need not be there.
        student: the present network's file, which need not be there.
        media: what is shown.
        board: the clicks.
    """

    def __init__(self, path: Path, student: Path, media: Media, board: Board) -> None:
        self._path, self._student, self._media, self._board = path, student, media, board
        self._lock = threading.Lock()
        self._list: AskList | None = None
        self._list_stamp: Stamp | None = None
        self._net = ""
        self._net_stamp: Stamp | None = None

    def told(self) -> dict[str, Any]:
        """The list in the page's words.

        Returns:
            asks: places without an answer. made: whether there is a list; how to make one stands in `todo`.
            older: whether it is of a student before the present one. honest: the accuracy of the network that
            asks, or else of the one that asked last; None without an answer at random.

        Raises:
            InputError: the list is none, or the log is damaged.
        """
        with self._lock:
            asked, present = self._read(), self._present()
        self._board.look()
        events = self._board.logged()
        known = {each.net: each for each in honest_accuracy(events)}
        last = known.get(asked.net if asked else "") or (list(known.values())[-1] if known else None)
        void = void_places(events)
        asks = [self._told(ask, asked.net, void) for ask in asked.asks] if asked else []
        return {
            "asks": [ask for ask in asks if ask],
            "made": asked is not None,
            "older": bool(asked and present and asked.net != present),
            "todo": f"weclick ask --root {self._media.root}",
            "honest": {**last._asdict(), "accuracy": last.accuracy} if last else None,
        }

    def _told(self, ask: NamedAsk, net: str, void: set[tuple[str, str, int, int]]) -> dict[str, Any] | None:
        """An ask with indexes for names; None if it has an answer, or no place here."""
        place = self._media.place(ask.clip, ask.frame)
        if place is None or (ask.clip, ask.frame, ask.y, ask.x) in void:
            return None
        if not self._can_be_right(ask, place) or self._board.has_click(*place, ask.y, ask.x):
            return None
        why = {"kind": ask.kind, "predicted": ask.predicted, "net": net}
        return {"clip": place[0], "frame": place[1], "y": ask.y, "x": ask.x, "ask": why}

    def _can_be_right(self, ask: NamedAsk, place: Place) -> bool:
        """Whether frames and classes still are what they were when the list was made."""
        try:
            height, width = self._media.size(place)
        except InputError:  # the frame is gone, or damaged
            return False
        return ask.y < height and ask.x < width and ask.predicted in self._media.classes.names

    def _read(self) -> AskList | None:
        stamp = _stamp(self._path)
        if stamp != self._list_stamp:
            self._list = read_asks(self._path) if stamp else None
            self._list_stamp = stamp
        return self._list

    def _present(self) -> str:
        """The name of the present network; empty if there is none."""
        stamp = _stamp(self._student)
        if stamp != self._net_stamp:
            self._net = file_digest(self._student)[:12] if stamp else ""
            self._net_stamp = stamp
        return self._net


def _stamp(path: Path) -> Stamp | None:
    """What changes with a file; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
