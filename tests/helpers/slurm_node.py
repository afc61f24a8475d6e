"""A Slurm of one node on the loopback interface, with all its files in one folder."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from getpass import getuser
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
SBIN = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"

# Sizes and GPUs are those that the profile asks for, not real ones: the GPUs are /dev/null and /dev/zero.
SLURM_CONF = """
ClusterName=weclick
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=512000 Gres=gpu:2
PartitionName=all Nodes={host} Default=YES State=UP
"""
GRES_CONF = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"


def missing_daemons() -> list[str]:
    """Programs of Slurm that this machine lacks."""
    return [name for name in DAEMONS if shutil.which(name, path=SBIN) is None]


@contextmanager
def slurm_node(folder: Path) -> Iterator[dict[str, str]]:
    """Run munged, slurmctld and slurmd until the block ends.

    Args:
        folder: with a short path, since paths of Unix sockets have at most 107 characters.

    Yields:
        An environment in which Slurm's commands and the workflow find this Slurm.
    """
    _write_settings(folder)
    bin_folders = f"{folder}/bin{os.pathsep}{Path(sys.executable).parent}"
    environment = {**os.environ, "PATH": f"{bin_folders}{os.pathsep}{SBIN}"}
    environment["SLURM_CONF"] = str(folder / "slurm.conf")
    files = {name: folder / f"munge.{name}" for name in ("key", "socket", "pid", "log", "seed")}
    munge = [f"--{name}{'' if name == 'socket' else '-file'}={path}" for name, path in files.items()]
    with ExitStack() as stack:
        stack.enter_context(_daemon(["munged", "--foreground", "--force", *munge], folder, environment))
        _wait(files["socket"].exists, folder)
        stack.enter_context(_daemon(["slurmctld", "-D"], folder, environment))
        stack.enter_context(_daemon(["slurmd", "-D"], folder, environment))
        _wait(lambda: "idle" in _told(["sinfo", "-h", "-o", "%T"], environment), folder)
        stack.callback(_told, ["scancel", "--me"], environment)  # jobs would go on after slurmd ends
        yield environment


def jobs_of(environment: Mapping[str, str]) -> list[dict[str, str]]:
    """The fields of every job by name, as Slurm's controller knows them."""
    lines = _told(["scontrol", "show", "jobs", "-o"], environment).splitlines()
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]


def _write_settings(folder: Path) -> None:
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0)), second.bind(("127.0.0.1", 0))
        ports = {"controller_port": first.getsockname()[1], "node_port": second.getsockname()[1]}
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(SLURM_CONF.format(folder=folder, host=host, user=getuser(), **ports))
    (folder / "gres.conf").write_text(GRES_CONF)
    srun = (
        folder / "bin" / "srun"
    )  # the plugin's jobs forget SLURM_CONF: elsewhere it is /etc/slurm/slurm.conf
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)


@contextmanager
def _daemon(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("w") as out:
        daemon = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait(timeout=30)


def _wait(ready, folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        told = "".join(path.read_text(encoding="utf-8")[-2000:] for path in folder.glob("*.out"))
        assert time.monotonic() < deadline, f"Slurm did not start within 30 s:\n{told}"
        time.sleep(0.2)


def _told(command: list[str], environment: Mapping[str, str]) -> str:
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=30).stdout
