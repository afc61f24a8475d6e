"""The log of clicks, `<data.root>/clicks.jsonl`: append only, UTF-8, one JSON object a line.

    {"id": "<uuid>", "time": "2026-11-28T10:00:00.123Z", "clip": "IMG_0001", "frame": "000012",
     "y": 100, "x": 200, "class": "car", "source": "human", "who": "anna", "tool": "weclick click 0.1.0"}
    {"id": "<uuid>", "time": "...", "undo": "<id of a click>", "who": "anna"}

A scribble has `"points": [[y, x], ...]` instead of y and x. What was written stays: to take a click back is a
further line. A line counts from its newline on, or if it is whole. So a writer that was killed in the middle
of a line costs that line, which nobody was told of, and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from weclick.common.content import read_content
from weclick.common.errors import InputError, MissingFileError, room_to_write
from weclick.common.files import open_to_change
from weclick.common.words import count_bytes
from weclick.manifest.click_event import (
    LINE_BYTES,
    SOURCES,
    LoggedClick,
    check_event,
    click_of,
    parse_event,
)

__all__ = ["CLICK_LOG", "SOURCES", "ClickLog", "LoggedClick", "append_events", "read_click_log"]

CLICK_LOG = "clicks.jsonl"
LOG_BYTES = 256 * 2**20
"""A million clicks. A longer log is not read."""

END_BYTES = 512
"""So much of what was read is compared before more is read."""

TORN = b"#torn"
"""Ends a line that a killed writer left unfinished. No JSON object ends so."""


def read_click_log(path: Path, sha256: str | None = None) -> tuple[LoggedClick, ...]:
    """The clicks of a log in the order of their lines, without those that were undone.

    An id counts once. An unfinished last line is left out.

    Args:
        path: of the log.
        sha256: hex digest that its content must have; None or empty takes any content.

    Raises:
        MissingFileError: there is no such file.
        ChangedFileError: its content has another digest.
        InputError: a line is none of a log, or the file is longer than LOG_BYTES.
    """
    try:
        content = read_content(path, sha256, limit_bytes=LOG_BYTES)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such log of clicks; correct the path") from error
    state = _State(path)
    state.take(content, last=True)
    return state.clicks()


def append_events(path: Path, events: Sequence[Mapping[str, Any]]) -> int:
    """Append events to a log and sync it to the disk; the log is made if it is missing.

    Args:
        path: of the log.
        events: as the lines of a log. Those whose id the log holds are left out.

    Returns:
        How many were new. When this returns, all of them survive a power cut.

    Raises:
        InputError: an event is none, or the log holds a bad line; then nothing is written.
        NotPlainFileError, DiskFullError, UnwritableError: as in `open_to_change`.
    """
    return len(ClickLog(path).append(events))


class ClickLog:
    """A log that one process reads on and appends to, while others append to it too.

    It reads what was added since it last looked. If the file was replaced, cut or removed, it begins anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._state = _State(self.path)

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events so far, each id once, in the order of the file. A replaced file begins a new list."""
        return self._state.events

    @property
    def known(self) -> set[str]:
        """Ids of all events so far."""
        return self._state.known

    def clicks(self) -> tuple[LoggedClick, ...]:
        """As `read_click_log`, of what was read so far."""
        return self._state.clicks()

    def read_on(self) -> None:
        """Read what others appended.

        Raises:
            InputError: as in `read_click_log`.
        """
        if self.path.exists():
            with self._locked() as file:
                self._read_on(file)
        elif self._state.length:
            self._state = _State(self.path)

    def append(self, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """As `append_events`.

        Returns:
            The new events.
        """
        for event in events:
            _check(event)
        with self._locked() as file:
            tail = self._read_on(file)
            closing = _closing(tail)
            self._state.take(tail + closing)
            new = {event["id"]: dict(event) for event in reversed(events)}
            new = {key: new[key] for key in reversed(new) if key not in self._state.known}
            lines = [json.dumps(event, ensure_ascii=False, allow_nan=False) for event in new.values()]
            text = "".join(f"{line}\n" for line in lines).encode()
            if closing or text:
                with room_to_write(self.path):
                    _write(file, closing + text)
                self._state.take(text)
            return list(new.values())

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        made = not self.path.exists()
        with open_to_change(self.path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if made:
                _sync_folder(self.path.parent)
            yield file

    def _read_on(self, file: BinaryIO) -> bytes:
        """Take what is new in the file, and return its unfinished last line."""
        length = os.fstat(file.fileno()).st_size
        if length > LOG_BYTES:
            raise _too_long(self.path, length)
        # `open_to_change` opens to read, too; Python's file object only knows of writing
        known = self._state
        if os.pread(file.fileno(), len(known.end), known.length - len(known.end)) != known.end:
            known = self._state = _State(self.path)  # the file was cut, or is another one of the same name
        return known.take(os.pread(file.fileno(), length - known.length, known.length))


class _State:
    """What was read of a log: `length` bytes that end in `end`, which has an id, and `lines` lines."""

    def __init__(self, path: Path) -> None:
        self.path, self.length, self.lines, self.end = path, 0, 0, b""
        self.events: list[dict[str, Any]] = []
        self.known: set[str] = set()

    def take(self, content: bytes, *, last: bool = False) -> bytes:
        """Take the whole lines of what follows in the file.

        Args:
            content: of the file, from byte `length` on.
            last: take an unfinished line, too, if it holds an event.

        Returns:
            What follows the last newline.
        """
        end = content.rfind(b"\n") + 1
        lines = content[:end].split(b"\n")[:-1]
        told = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.endswith(TORN)]
        events = [self._parsed(line, self.lines + n) for n, line in told]  # all, or an error and none
        for event in events:
            self._add(event)
        self.lines += len(lines)
        self.length += end
        self.end = (self.end + content[:end])[-END_BYTES:]
        whole = _whole(content[end:]) if last else None
        if whole:
            self._add(whole)
        return content[end:]

    def clicks(self) -> tuple[LoggedClick, ...]:
        undone = {event["undo"] for event in self.events if "undo" in event}
        told = (event for event in self.events if "undo" not in event)
        return tuple(click_of(event) for event in told if event["id"] not in undone)

    def _add(self, event: dict[str, Any]) -> None:
        if event["id"] not in self.known:
            self.known.add(event["id"])
            self.events.append(event)

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            return parse_event(line)
        except ValueError as error:
            raise InputError(
                f"{self.path}, line {number}: is no line of a log of clicks ({error}); correct the line, "
                "or remove it"
            ) from error


def _check(event: Mapping[str, Any]) -> None:
    try:
        check_event(event)
    except ValueError as error:
        raise InputError(
            f"a click cannot be written down ({error}): {str(event)[:200]}; correct it"
        ) from error
    if len(json.dumps(event, ensure_ascii=False).encode()) > LINE_BYTES:
        raise InputError(f"a click takes more than {LINE_BYTES} bytes: {str(event)[:200]}; make it smaller")


def _whole(tail: bytes) -> dict[str, Any] | None:
    """The event of an unfinished line that lacks nothing but its newline."""
    try:
        return parse_event(tail)
    except ValueError:  # torn
        return None


def _closing(tail: bytes) -> bytes:
    """What ends an unfinished last line, so that the next line stands alone."""
    if not tail:
        return b""
    return b"\n" if _whole(tail) else TORN + b"\n"


def _write(file: BinaryIO, content: bytes) -> None:
    """Append with one write and one sync; a write that fails half-way leaves nothing."""
    before = os.fstat(file.fileno()).st_size
    try:
        if os.write(file.fileno(), content) < len(content):
            raise OSError(errno.ENOSPC, "the disk took only a part")
        os.fsync(file.fileno())
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file survive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _too_long(path: Path, length: int) -> InputError:
    return InputError(
        f"{path}: has {count_bytes(length)}, expected at most {count_bytes(LOG_BYTES)}; is it the right file?"
    )
