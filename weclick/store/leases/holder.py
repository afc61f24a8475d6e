"""Who holds a lease: told to people, and by which it is known whether the holder is dead."""

from __future__ import annotations

import json
import os
import re
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from weclick.store.meta import user_name


@dataclass(frozen=True)
class Holder:
    """Who holds a lease: host, process, user and since when, for people; machine and start, to tell the dead.

    `machine` names a running kernel and a namespace of process ids; `started` is when the process began, in
    the kernel's ticks: no later process has both the same.
    """

    host: str = "unknown host"
    pid: int = 0
    user: str = "unknown user"
    since: str = "unknown time"
    machine: str = ""
    started: int | None = None

    def __str__(self) -> str:
        words = (self.user, self.host, self.pid, self.since)
        user, host, pid, since = (re.sub(r"[^\w .:+-]", "?", str(word))[:60] for word in words)
        return f"{user} on {host} (process {pid}, since {since})"

    def is_dead(self) -> bool:
        """Whether it was a process of this machine that is gone; False also where that cannot be known."""
        if self.machine != _machine() or not self.machine:
            return False
        return is_gone(self.pid) or _started(self.pid) not in (self.started, None)

    def spell(self) -> bytes:
        """JSON, as `read_holder` reads it."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


def this_process() -> Holder:
    """This process, as the holder of a lease from now on."""
    since = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    pid = os.getpid()
    return Holder(socket.gethostname(), pid, user_name(), since, _machine(), _started(pid))


def read_holder(content: bytes) -> Holder:
    """What the content of a lease says; an unknown holder where it cannot be read."""
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):  # just being written, or by another version
        return Holder()
    return holder if type(holder.pid) is int else Holder()


@cache
def process_space() -> str:
    """What this process's id is counted in, in one word: a host, and on Linux a container's namespace."""
    try:
        space = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        space = ""
    return re.sub(r"\W", "-", f"{socket.gethostname()}-{space}")


def is_gone(pid: int) -> bool:
    """Whether no process of this host and namespace has that id."""
    if not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)  # a PermissionError: somebody else's, and there
    return False


@cache
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux: leases are left to expire
        return ""


def _started(pid: int) -> int | None:
    """When a process began, in ticks since boot, or None where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except OSError:
        return None
