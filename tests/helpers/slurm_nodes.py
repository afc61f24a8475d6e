"""A Slurm of a controller and two nodes on the loopback interface, with all its files in one folder."""

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
NODES = ("one", "two")
SBIN = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"

# Sizes and GPUs are those that the profile asks for, not real ones: the GPUs are /dev/null and /dev/zero.
SLURM_CONF = """
ClusterName=weclick
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core,CR_LLN
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
GresTypes=gpu
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={one} CPUs=64 RealMemory=512000 Gres=gpu:2
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={two} CPUs=64 RealMemory=512000 Gres=gpu:2
PartitionName=all Nodes=one,two Default=YES State=UP
"""
GRES_CONF = "NodeName=one,two Name=gpu File=/dev/null\nNodeName=one,two Name=gpu File=/dev/zero\n"


def missing_daemons() -> list[str]:
    """Programs of Slurm that this machine lacks."""
    return [name for name in DAEMONS if shutil.which(name, path=SBIN) is None]


@contextmanager
def slurm_nodes(folder: Path) -> Iterator[dict[str, str]]:
    """Run munged, slurmctld and a slurmd for each node until the block ends.

    A job goes to the node with less to do.

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
    munge = ["munged", "--foreground", "--force"]
    munge += [f"--{name}{'' if name == 'socket' else '-file'}={path}" for name, path in files.items()]
    with ExitStack() as stack:
        stack.enter_context(_daemon("munged", munge, folder, environment))
        _wait(files["socket"].exists, folder)
        stack.enter_context(_daemon("slurmctld", ["slurmctld", "-D"], folder, environment))
        for node in NODES:
            stack.enter_context(_daemon(node, ["slurmd", "-D", "-N", node], folder, environment))
        idle = ["sinfo", "-h", "-N", "-o", "%T"]
        _wait(lambda: _told(idle, environment).split() == ["idle"] * len(NODES), folder)
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
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in ("controller_port", *NODES)}
        for each in sockets.values():
            each.bind(("127.0.0.1", 0))
        ports = {name: each.getsockname()[1] for name, each in sockets.items()}
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(SLURM_CONF.format(folder=folder, host=host, user=getuser(), **ports))
    (folder / "gres.conf").write_text(GRES_CONF)
    srun = (
        folder / "bin" / "srun"
    )  # the plugin's jobs forget SLURM_CONF: elsewhere it is /etc/slurm/slurm.conf
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)


@contextmanager
def _daemon(name: str, command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / f"{name}.out").open("w") as out:
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
