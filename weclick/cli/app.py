"""The application, the options that verbs share, and what every verb begins with."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from weclick import __version__
from weclick.cli.log_file import open_log
from weclick.common import sections
from weclick.common.config import load_config, select
from weclick.common.errors import InputError

app = typer.Typer(
    name="weclick",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train compact video segmentation networks from one click per object. "
    "The verbs are the stages in the order of the data; `weclick run demo` runs them all, and `weclick init` "
    "begins with your own videos.",
)


def _tell_version(asked: bool) -> None:
    """Print the version and end, before a verb is looked for."""
    if asked:
        typer.echo(f"weclick {__version__}")
        raise typer.Exit


@app.callback()
def prepare(
    log: Annotated[
        Path | None,
        typer.Option("--log", help="Append what is said on stderr to this file, too, as plain lines."),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Before any verb loads torch: threads wait for each other by 10,000 turns of a loop, not by 300,000.

    On a quiet machine that costs nothing. Beside another busy process, the long wait takes the very core
    that the awaited thread needs, and training is three times slower.
    """
    if log:
        open_log(log)
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if os.environ.get("SLURM_NTASKS") == "1":
        # Lightning's sign that a process starts those of its other GPUs itself. Without it, a training on
        # several devices in one task of Slurm would quietly use one.
        os.environ["SLURM_JOB_NAME"] = "interactive"


def _of_name(config: str) -> str:
    """The file of a configuration that weclick brings, if that is what a word names, as for `weclick run`."""
    if config.startswith("{") or Path(config).suffix or Path(config).exists():
        return config
    from weclick.runs.workflow import shipped_configs

    return str(shipped_configs().get(config, config))


def _of_names(configs: list[str] | None) -> list[str] | None:
    return configs and [_of_name(config) for config in configs]


Config = Annotated[
    str,
    typer.Option(
        "--config",
        callback=_of_name,
        help="Configuration: a YAML file, the name of one that weclick brings, e.g. demo, or JSON text "
        "beginning with '{'.",
    ),
]
Configs = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        callback=_of_names,
        help="Configuration: a YAML file, the name of one that weclick brings, e.g. demo, or JSON text "
        "beginning with '{'. If it is repeated, later ones stand over earlier ones.",
        show_default="config/demo.yaml",
    ),
]
DataRoot = Annotated[
    Path, typer.Option("--root", help="Folder with classes.yaml and videos/ or frames/, as data.root.")
]
ClassesFile = Annotated[
    Path | None, typer.Option("--classes", help="Another classes file than <root>/classes.yaml.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value, e.g. --set student.steps=500. May be repeated."),
]
Manifests = Annotated[
    list[Path], typer.Option("--manifest", help="Manifest of a shard; repeat for all shards of a split.")
]
OneManifest = Annotated[Path, typer.Option("--manifest", help="Manifest of one shard.")]
ValManifests = Annotated[list[Path], typer.Option("--val-manifest", help="Manifests of the split to score.")]
Clicks = Annotated[Path, typer.Option("--clicks", help="Click table (HDF5) of the training split.")]
FrameIndex = Annotated[list[Path], typer.Option("--frames", help="Index of the frames stage; one per shard.")]
MaskIndex = Annotated[
    list[Path] | None,
    typer.Option("--masks", help="Index of the masks stage; one per shard; none if supervision is clicks."),
]
ProxyLabelIndex = Annotated[
    list[Path] | None,
    typer.Option(
        "--proxy-labels", help="Index of the proxy-labels stage; one per shard; with supervision proxies."
    ),
]
OutputFile = Annotated[Path, typer.Option("--output", help="File to write.")]
OutputFolder = Annotated[Path, typer.Option("--output", help="Folder to write into.")]
Device = Annotated[str, typer.Option("--device", help="auto (a GPU when there is one), cpu or cuda.")]
Devices = Annotated[int, typer.Option("--devices", help="GPUs or CPU processes to train with, by DDP.")]
DEFAULT = "config/demo.yaml"

UNCHECKED_STATUS = 3
"""Exit status if a disk or share did not let something be read, and nothing is known to be wrong with it."""


def load_all(configs: list[str] | None, change: list[str] | None) -> sections.Config:
    """The configuration in one or several sources, see `Configs`; by default the demo's."""
    return load_config(configs or [DEFAULT], change or ())


def load(config: str, change: list[str] | None, stage: str) -> sections.Selection:
    """The part of the configuration that a stage may read."""
    return select(load_config(config, change or ()), stage)


def load_watch(config: str, change: list[str] | None) -> sections.WatchSection:
    """What watches a training. It is no part of what a stage reads, so that no stage runs again for it."""
    return load_config(config, change or ())["watch"]


def open_store(chosen: sections.Config | sections.Selection) -> Any:
    """The store of the configuration's cache roots."""
    from weclick.store import Store

    return Store.from_config(**chosen["cache"])


def keep_freed_memory(*, of_threads: bool = False) -> None:
    """Let the C library keep what is freed, for a network's next step, which needs as much again.

    By default glibc gives the largest blocks back to the system and asks for them anew, page by page. That
    took a sixth of a step on a CPU.

    Args:
        of_threads: also what threads free that begin later. They get no memory of their own then.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # of malloc.h
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**30)
        if of_threads:
            libc.mallopt(arena_max, 1)


def choose_device(wanted: str, devices: int = 1) -> str:
    """The device to use; also keeps torch from starting more threads than there are cores.

    Where there are several GPUs, takes `devices` of them that no other verb of this user has.
    """
    _check_device(wanted)
    import torch

    from weclick.common.gpus import take_gpus, visible_gpus

    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(min(cores, int(os.environ.get("OMP_NUM_THREADS", cores))))
    if wanted != "cpu":  # before CUDA is initialised; counting does not
        take_gpus(devices, visible_gpus()[: torch.cuda.device_count()])
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU here; set device: cpu or auto")
    return wanted


def choose_later(wanted: str) -> Callable[[], str]:
    """`choose_device` for a stage that may find all its entries in the store, and then needs no device.

    Raises:
        InputError: there is no such device.
    """
    _check_device(wanted)
    return partial(choose_device, wanted)


def _check_device(wanted: str) -> None:
    if wanted.split(":")[0] not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is {wanted!r}, expected auto, cpu or cuda; correct it")
