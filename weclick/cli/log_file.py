"""`weclick --log FILE`: what a job says on stderr goes into a file too, as plain lines."""

from __future__ import annotations

import atexit
import faulthandler
import os
import platform
import re
import shlex
import sys
import threading
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, cast

import weclick
from weclick.common.errors import InputError
from weclick.common.words import masked

_CONTROLS = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[0-Z\\^-~])|[\x00-\x08\x0b-\x1f\x7f]"
)
"""What moves a terminal's cursor or colours its text; tabs are text."""


def open_log(path: Path) -> None:
    """Copy what this process says on stderr to the end of a file, from now until it ends.

    A native crash writes Python's stack there. The file also tells the command, and when it began and ended;
    where the end is missing, the process was killed or crashed.

    Raises:
        InputError: the file cannot be opened for writing.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK  # the last: wait for no reader of a pipe
        if not path.absolute().is_relative_to("/dev"):  # /dev/stderr is a link
            how |= os.O_NOFOLLOW
        file = os.open(path, how, 0o666)
    except OSError as error:
        raise InputError(
            f"{path}: the log cannot be written ({error.strerror}); give --log a file in a folder that you "
            "may write to"
        ) from error
    faulthandler.enable(file)
    tee = _Tee(sys.stderr, path, file)
    began = time.monotonic()
    tee.note(f"begins: {shlex.join(['weclick', *sys.argv[1:]])}")
    tee.note(f"weclick {weclick.__version__}, Python {platform.python_version()}, on {platform.node()}")
    atexit.register(lambda: tee.note(f"ends after {time.monotonic() - began:.1f} s"))
    sys.stderr = cast(TextIO, tee)


class _Tee:
    """A stream as it is, whose whole lines are also appended to a file.

    Progress bars go on as before, since all that this class does not have is the stream's own.

    Args:
        stream: what is copied.
        path: of the file, for errors.
        file: its descriptor, opened for appending, so that lines of several processes do not mix.
    """

    def __init__(self, stream: TextIO, path: Path, file: int):
        self._stream, self._path = stream, path
        self._file: int | None = file
        self._begun = ""
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write to the stream, and to the file every line that this ends."""
        written = self._stream.write(text)
        with self._lock:
            *lines, begun = (self._begun + text).split("\n")
            self._begun = _last_drawn(begun)  # a bar redraws its line for days without ending it
            self._append(lines)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """As `write`, for several texts."""
        for line in lines:
            self.write(line)

    def note(self, text: str) -> None:
        """Write a line with time and process to the file alone, after what was begun."""
        now = datetime.now().astimezone().isoformat(" ", "seconds")
        with self._lock:
            begun, self._begun = self._begun, ""
            self._append([*([begun] if begun else []), f"{now} [{os.getpid()}] {text}"])

    def _append(self, lines: list[str]) -> None:
        plain = [_CONTROLS.sub("", _last_drawn(line)).rstrip() for line in lines]
        told = [text for text, line in zip(plain, lines, strict=True) if text or not line]
        if not told or self._file is None:
            return
        try:
            os.write(
                self._file, masked("".join(f"{line}\n" for line in told)).encode(errors="backslashreplace")
            )
        except OSError as error:  # the job matters more than its log
            self._file = None
            self._stream.write(f"weclick: {self._path}: the log ends here ({error.strerror})\n")


def _last_drawn(line: str) -> str:
    """What a terminal shows of a line that was drawn several times over itself."""
    return line[line.rstrip("\r").rfind("\r") + 1 :]
