"""Follows the metrics.jsonl of a training and sends its lines to watchers, in threads of their own.

So what is watched is what that file holds. A slow server does not slow the training down, and what a lost
server has missed is sent when it is back.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from weclick.common import words
from weclick.common.bounded_json import parse_json
from weclick.common.errors import InputError
from weclick.common.files import read_json, write_text
from weclick.common.sections import WatchSection
from weclick.common.stages import METRICS
from weclick.common.strict_json import strict_json
from weclick.train.watch.watcher import Watched, Watcher, kind_of, numbers

LOOK_EVERY_S = 1.0
"""Seconds between two looks into the file."""

TRY_AGAIN_S = 60.0
"""Seconds until a watcher that failed is tried again."""

BEGIN_S, END_S = 60.0, 90.0
"""How long begin and end of a training wait for watchers. One who is asked to log in has the first."""


@contextmanager
def watched(training: Watched, options: WatchSection) -> Iterator[None]:
    """Let watchers follow the training in the block. They begin before it.

    A watcher that fails does not stop the training: one warning tells it, and it is tried again.

    Args:
        training: that is watched.
        options: the section `watch`; its packages are there, see `check_watch`.
    """
    followers = [Follower(name, training, options) for name in options["to"]]
    for follower in followers:
        follower.begin()
    for follower in followers:
        follower.wait_for_begin()
    finished = False
    try:
        yield
        finished = True
    finally:
        for follower in followers:
            follower.end(finished=finished)
        for follower in followers:
            follower.wait()


class Follower:
    """Sends the lines of a training to one watcher.

    A file beside the checkpoint says which run of the service the training is, and what it has got. So a
    training that was killed goes on in the same run, and sends nothing twice.

    Args:
        name: wandb or mlflow.
        watched: the training.
        options: the section `watch`.
    """

    def __init__(self, name: str, watched: Watched, options: WatchSection):
        self._name, self._watched, self._options = name, watched, options
        self._path = watched.folder / METRICS
        self._state = watched.folder / f"watch.{name}.json"
        self._of_before, self._read = _signature(self._path), 0
        self._lines: deque[dict[str, Any]] = deque()
        self._run, self._sent = self._known()
        self._watcher: Watcher | None = None
        self._warned, self._again = False, 0.0
        self._begun, self._ending, self._finished = Event(), Event(), False
        self._thread = Thread(target=self._follow, name=f"watch {name}", daemon=True)

    def begin(self) -> None:
        """Open the watcher and follow the training, in another thread."""
        self._thread.start()

    def wait_for_begin(self) -> None:
        """Wait until the watcher is open or has failed, at most BEGIN_S."""
        self._begun.wait(BEGIN_S)

    def end(self, *, finished: bool) -> None:
        """Let the thread send what is left and end; `finished` says whether the training came to its end."""
        self._finished = finished
        self._ending.set()

    def wait(self) -> None:
        """Wait for the end of the thread, at most END_S, and tell what was not sent."""
        self._thread.join(END_S)
        if self._finished:
            self._state.unlink(missing_ok=True)  # the training is over, and no session goes on with it
        if self._thread.is_alive() or self._lines:
            left = words.plural(len(self._lines), "line") if self._lines else "the last lines"
            self._say(f"did not get {left}; {self._path} holds them")

    def _follow(self) -> None:
        self._careful(self._open)
        self._begun.set()
        while not self._ending.wait(LOOK_EVERY_S):
            if time.monotonic() >= self._again:
                self._careful(self._send)
        self._careful(self._send)
        if self._watcher:
            self._careful(self._close)

    def _careful(self, act: Callable[[], None]) -> None:
        """Do something that may fail for any reason; the training matters more than who watches it."""
        try:
            act()
        except Exception as error:  # a library of others may raise anything
            self._again = time.monotonic() + TRY_AGAIN_S
            if not self._warned:
                told = masked_line(error)
                self._say(f"fails ({told}); the training goes on, and what is missing is sent later")
            self._warned = True

    def _open(self) -> None:
        watcher = _open(self._name, self._watched, self._options, self._run)
        goes_on = watcher.run == self._run and self._sent
        last = max(self._sent.values()) - watcher.holds_back if goes_on else 0
        self._sent = {kind: min(step, last) for kind, step in self._sent.items()}
        self._watcher, self._run = watcher, watcher.run
        self._remember()
        self._say(watcher.place)

    def _send(self) -> None:
        self._lines.extend(self._new_lines())
        if not self._watcher:
            self._open()
        assert self._watcher is not None, "which was opened above"
        begun = len(self._lines)
        try:
            while self._lines:
                line = self._lines[0]
                kind, step = kind_of(line), line["step"]
                if step > self._sent.get(kind, 0):
                    self._watcher.send(step, numbers(line))
                    self._sent[kind] = step
                self._lines.popleft()
        finally:
            if len(self._lines) < begun:
                self._remember()

    def _close(self) -> None:
        assert self._watcher is not None, "or it is not called"
        self._watcher.close(finished=self._finished)

    def _new_lines(self) -> Iterator[dict[str, Any]]:
        """What was written since the last look. The training replaces the file of an earlier session."""
        if _signature(self._path) in (self._of_before, None):
            return
        self._of_before = None
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        yield from map(parse_json, whole.splitlines())

    def _known(self) -> tuple[str, dict[str, int]]:
        """The run to go on with, and its last steps; empty if no earlier session was watched there."""
        with suppress(InputError):  # what is damaged is as good as missing: a new run begins
            state = read_json(self._state, "training") if self._state.is_file() else {}
            if all(state.get(name) == value for name, value in self._identity().items()):
                return str(state["run"]), {kind: int(step) for kind, step in state["sent"].items()}
        return "", {}

    def _remember(self) -> None:
        state = {**self._identity(), "run": self._run, "sent": self._sent}
        write_text(self._state, strict_json(state, indent=1) + "\n")

    def _identity(self) -> dict[str, str]:
        """What tells one training in one service from others."""
        server = os.environ.get("WANDB_BASE_URL", "")
        if self._name == "mlflow":
            server = self._options["mlflow_uri"] or os.environ.get("MLFLOW_TRACKING_URI", "")
        return {"key": self._watched.key, "project": self._options["project"], "server": words.masked(server)}

    def _say(self, text: str) -> None:
        print(f"watch: {self._name}: {text}", file=sys.stderr, flush=True)


def masked_line(error: Exception) -> str:
    """The beginning of an error's text, on one line and without passwords."""
    return words.masked(" ".join(str(error).split()))[:300] or type(error).__name__


def _open(name: str, watched: Watched, options: WatchSection, run: str) -> Watcher:
    """The watcher of a name. Its library takes seconds to load."""
    if name == "wandb":
        from weclick.train.watch.wandb import WandB

        return WandB(watched, options, run)
    from weclick.train.watch.mlflow import MLflow

    return MLflow(watched, options, run)


def _signature(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one that has replaced it; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_ctime_ns
