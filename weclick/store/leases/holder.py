"""Who holds a lease. People read it, and other runs tell by it whether the holder is dead."""

from __future__ import annotations

import json
import os
import re
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

from weclick.store.meta import user_name


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Host, process, user and `since` are for people. Machine and start tell whether the holder is dead.
    `machine` names a host, its installation, its running kernel and a namespace of process ids: two cloned
    machines of one name differ in it. `started` is when the process began, in the kernel's ticks. No later
    process with the same id has the same two.
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
        """Whether the holder was a process of this machine and has ended; False if that cannot be known."""
        if self.machine != _machine() or not self.machine:
            return False
        return is_gone(self.pid) or _started(self.pid) not in (self.started, None)

    def spell(self) -> bytes:
        """JSON for `read_holder`."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


def this_process() -> Holder:
    """This process, as the holder of a lease from now on."""
    since = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    pid = os.getpid()
    return Holder(socket.gethostname(), pid, user_name(), since, _machine(), _started(pid))


def read_holder(content: bytes) -> Holder:
    """The holder that a lease names; an unknown one if the lease cannot be read."""
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):  # half written, or another version wrote it
        return Holder()
    return holder if type(holder.pid) is int else Holder()


@cache
def process_space() -> str:
    """The space in which this process's id is unique, as part of a file's name.

    It names the host for people, and a digest of the host, its installation, its running kernel and its
    namespace of process ids. It is not the same on two machines that were cloned from one image.
    """
    host = re.sub(r"\W", "-", socket.gethostname())[:48]
    return f"{host}-{sha256(_machine().encode()).hexdigest()[:16] if _machine() else 'unknown'}"


def is_dead_here(space: str, pid: str) -> bool:
    """Whether a process, by its space and id, was one of this very machine and has ended."""
    return bool(_machine()) and space == process_space() and pid.isdigit() and is_gone(int(pid))


def is_gone(pid: int) -> bool:
    """Whether no process of this host and namespace has that id."""
    if not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)  # a PermissionError: it runs for another user
    return False


@cache
def _machine() -> str:
    """What tells this machine, as it runs now, from all others; "" where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        processes = Path("/proc/self/ns/pid").readlink()
    except OSError:  # not Linux: leases of the dead expire instead
        return ""
    try:
        installed = Path("/etc/machine-id").read_text(encoding="utf-8").strip()
    except OSError:  # many containers have none
        installed = ""
    return f"{boot} {processes} {installed} {socket.gethostname()}"


def _started(pid: int) -> int | None:
    """When a process began, in ticks since boot, or None if the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except OSError:
        return None
