"""Choice of GPUs: the processes of one user on one machine take different ones.

A slot is a file named after a GPU. The kernel locks it (flock) as long as its process lives: a killed process
frees its GPUs, and nothing is left to clean up. CUDA reads CUDA_VISIBLE_DEVICES once, when it is initialised.
So slots are taken before, and nothing here loads torch or initialises CUDA.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

from weclick.common.errors import InputError

POLL_S = 0.5
_HELD: list[IO[str]] = []  # open until the process ends; then the kernel releases their locks


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use: in CUDA_VISIBLE_DEVICES if it is set, else 0, 1, ..."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(index) for index in range(_count())]
    return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]


def take_gpus(wanted: int, gpus: Sequence[str]) -> list[str]:
    """Take GPUs that no other process of this user has taken, and let CUDA see only those.

    It waits, with a line on stderr, until enough are free. With one GPU there is nothing to choose, and
    nothing is locked. A process takes GPUs once. The processes that a training starts for its other GPUs
    (LOCAL_RANK is set) use what it has taken.

    Args:
        wanted: how many.
        gpus: to choose from, see `visible_gpus`. One GPU must not go by two names (number and UUID).

    Returns:
        The names of those taken, as they stand in CUDA_VISIBLE_DEVICES from now on.

    Raises:
        InputError: more are wanted than there are, or the folder of the locks belongs to somebody else.
    """
    if not gpus or _HELD or "LOCAL_RANK" in os.environ:
        return list(gpus)
    if wanted > len(gpus):
        raise InputError(
            f"devices is {wanted}, but {len(gpus)} GPUs are visible ({', '.join(gpus)}); set devices to at "
            f"most {len(gpus)}, or name more in CUDA_VISIBLE_DEVICES"
        )
    if len(gpus) == 1:
        return list(gpus)
    folder = _folder()
    slots = {gpu: (folder / quote(gpu, safe="")).open("a+", encoding="utf-8") for gpu in gpus}
    with (folder / "queue").open(
        "a", encoding="utf-8"
    ) as queue:  # one gathers at a time: two could wait for each other
        if not _lock(queue):
            _tell_waiting(wanted, slots)
            fcntl.flock(queue, fcntl.LOCK_EX)
        taken = _gather(wanted, slots)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    return taken


def _gather(wanted: int, slots: Mapping[str, IO[str]]) -> list[str]:
    taken: list[str] = []
    told = False
    while True:
        for gpu, slot in slots.items():
            if len(taken) < wanted and gpu not in taken and _lock(slot):
                _sign(slot)
                taken.append(gpu)
        if len(taken) == wanted:
            return taken
        if not told:
            _tell_waiting(wanted - len(taken), {gpu: slots[gpu] for gpu in slots if gpu not in taken})
            told = True
        time.sleep(POLL_S)


def _lock(file: IO[str]) -> bool:
    """Take the lock if it is free; whether it was."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(slot: IO[str]) -> None:
    """Hold the slot, and write this process into it for those that wait."""
    slot.truncate(0)
    slot.write(str(os.getpid()))
    slot.flush()
    _HELD.append(slot)


def _tell_waiting(wanted: int, slots: Mapping[str, IO[str]]) -> None:
    holders = []
    for gpu, slot in slots.items():
        slot.seek(0)
        holders.append(f"{gpu} (process {slot.read() or 'unknown'})")
    print(
        f"weclick: waiting for {wanted} GPU{'s' * (wanted > 1)}: other weclick processes of yours hold "
        f"{', '.join(holders)}; end one of them, or run with --device cpu, not to wait",
        file=sys.stderr,
        flush=True,
    )


def _folder() -> Path:
    """The folder of the locks: one per user, machine, and Slurm job that was given the GPUs.

    It is not in XDG_RUNTIME_DIR: that goes with the user's last login, while trainings go on.
    """
    given = os.environ.keys() & {"SLURM_JOB_GPUS", "SLURM_STEP_GPUS"}
    job = f"-{os.environ['SLURM_JOB_ID']}" if given else ""  # in two jobs, 0 may be two different GPUs
    name = f"weclick-gpus-{os.getuid()}-{socket.gethostname()}{job}"
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise InputError(
            f"{folder} belongs to somebody else, and the locks of your GPUs cannot lie there; "
            "set TMPDIR to a folder of your own"
        )
    return folder


def _count() -> int:
    """Number of GPUs by the driver's management library (NVML), which does not initialise CUDA."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:  # no driver, no GPU
        return 0
    count = ctypes.c_uint(0)
    if nvml.nvmlInit_v2() == 0:
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    return count.value
