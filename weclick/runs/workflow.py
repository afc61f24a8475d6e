"""Starts the workflow: Snakemake, with the Snakefile of the checkout or of the installed package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from weclick.common.errors import InputError, MissingFileError
from weclick.common.shipped import shipped

COMMAND = "WECLICK_COMMAND"
"""Environment variable in which a workflow passes on the command that started it."""

_TELLS_CORES = ("--cores", "-c", "--jobs", "-j", "--profile", "--workflow-profile")
"""Options of Snakemake that say, or name a file that says, how much runs at once."""

_CLASSES = "_classes.yaml"
"""Files of classes lie beside configurations, and end so."""


def run_snakemake(
    words: Sequence[str],
    configs: Sequence[Path],
    *,
    output: int | None = None,
    typed: str | None = None,
) -> int:
    """Run Snakemake in this folder, and give its exit status.

    All cores are taken unless a word says otherwise. Python (-P) takes no code from this folder, and
    Snakemake no profile (--workflow-profile) unless a word names one.

    Args:
        words: targets and options of Snakemake.
        configs: configurations, later ones over earlier ones.
        output: descriptor that Snakemake's stdout goes to; None: to that of this process.
        typed: the command that the report shows; None: Snakemake's own.

    Raises:
        MissingFileError: the package was installed without its workflow.
    """
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # has `weclick`, for jobs
    environment = {**os.environ, "PATH": here, **({COMMAND: typed} if typed else {})}
    with subprocess.Popen(_command(words, configs), env=environment, stdout=output) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the terminal tells Snakemake, too, which then ends its jobs
                continue


def _command(words: Sequence[str], configs: Sequence[Path]) -> list[str]:
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(shipped("Snakefile"))]
    command += ["--workflow-profile", str(shipped("profiles/default"))]
    if not any(word.startswith(_TELLS_CORES) for word in words):
        command += ["--cores", "all"]
    return [*command, *words, "--configfile", *map(str, configs)]


def find_config(name: str) -> Path:
    """The configuration of a name: a file, or one of those that weclick brings, e.g. demo.

    Raises:
        InputError: the name is an option.
        MissingFileError: there is no such file, or weclick brings none of that name.
    """
    if Path(name).is_file():
        return Path(name)
    known = shipped_configs()
    if name in known:
        return known[name]
    if Path(name).suffix in (".yaml", ".yml", ".json"):
        raise MissingFileError(
            f"{name}: there is no such file; `weclick init` writes a configuration for your own videos"
        )
    if name.startswith("-"):
        raise InputError(
            f"{name!r} stands where a configuration is expected; name it first and options of Snakemake "
            f"after it, as in `weclick run weclick.yaml {name}`"
        )
    from weclick.manifest.names import nearest  # here, since a run need not wait for it

    raise MissingFileError(
        f"{name!r} is no file, and no configuration that weclick brings{nearest(name, known)}; those are "
        f"{', '.join(known)}"
    )


def check_words(words: Sequence[str]) -> None:
    """Raises InputError if a word for Snakemake names a configuration, which would replace CONFIG."""
    for word in words:
        if word.startswith("--configfile"):
            raise InputError(
                f"{word.partition('=')[0]} is not passed on, since it would replace CONFIG; name the file as "
                "CONFIG, and further ones, which go on top, by --with"
            )


def shipped_configs() -> dict[str, Path]:
    """Name -> file of the configurations that weclick brings; experiments as experiments/<name>."""
    top = shipped("config")
    return {
        path.relative_to(top).with_suffix("").as_posix(): path
        for path in sorted(top.rglob("*.yaml"))
        if not path.name.endswith(_CLASSES)
    }
