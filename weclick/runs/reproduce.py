"""Repeats a run from its lock, and compares two locks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import write_text
from weclick.common.sections import Config
from weclick.runs.layout import Layout
from weclick.runs.lock import data_digests, read_lock
from weclick.runs.pins import check_contents
from weclick.runs.report.provenance import flatten, spell
from weclick.store import Store

_STDERR = 2


def rerun(lock: Mapping[str, Any], config: Config, *, cores: int, accept: bool = False) -> dict[str, Any]:
    """Run the workflow on a lock's data. Only entries that the store lacks are made.

    The data are compared first. If they differ from those of the lock, nothing is computed. Then the entries
    that the store has are compared with what the lock pins of them.

    Args:
        lock: of the run to repeat; its `data` are compared.
        config: the complete configuration; `results` is the folder that is written to.
        cores: given to Snakemake.
        accept: go on with entries that hold other content than the lock pins.

    Returns:
        The new run's lock; only its part `data` if the data differ.

    Raises:
        MissingFileError: weclick is installed without its workflow.
        InputError: the workflow ended with an error, which it has printed.
        OtherContentError, DamagedEntryError: as in `check_contents`; nothing is computed.
    """
    layout = Layout(Path(config["results"]))
    write_text(layout.config, json.dumps(config, indent=1) + "\n")
    _snakemake("manifest", layout.config, cores)
    data = data_digests(layout.folder, config["data"])
    if data != lock["data"]:
        return {"data": data}
    check_contents(lock, Store.from_config(**config["cache"]), accept=accept)
    _snakemake("all", layout.config, cores)
    return read_lock(layout.lock)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], part: str) -> list[str]:
    """The values of a part that differ between two locks, each as a line `name: old -> new`.

    Digests are shortened. Numbers are followed by their difference. A value that a lock lacks is `none`. Of
    `contents`, only entries count that both locks know.
    """
    leaves = [dict(flatten({part: lock.get(part, {})})) for lock in (old, new)]
    known = set(leaves[0]), set(leaves[1])
    names = sorted(known[0] & known[1] if part == "contents" else known[0] | known[1])
    pairs = {name: (leaves[0].get(name), leaves[1].get(name)) for name in names}
    return [
        f"{name.removeprefix(f'{part}.')}: {_spell(a)} -> {_spell(b)}{_change(a, b)}"
        for name, (a, b) in pairs.items()
        if a != b
    ]


def _spell(value: Any) -> str:
    text = "none" if value is None else spell(value)
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)


def _change(old: Any, new: Any) -> str:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
    return f" ({new - old:+.3g})" if numbers else ""


def _snakemake(target: str, config: Path, cores: int) -> None:
    """Run a target in this folder; all output of Snakemake and the stages goes to stderr."""
    command = [sys.executable, "-m", "snakemake", target, "--snakefile", str(_snakefile())]
    command += ["--cores", str(cores), "--configfile", str(config)]
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    ended = subprocess.run(command, env={**os.environ, "PATH": here}, stdout=_STDERR)
    if ended.returncode:
        raise InputError(
            f"the workflow ended with exit status {ended.returncode} before {target} was done; correct what "
            "its messages above name, and run again: finished stages stay"
        )


def _snakefile() -> Path:
    path = Path(__file__).resolve().parents[2] / "Snakefile"
    if not path.is_file():
        raise MissingFileError(
            f"{path}: there is no such file, so weclick is installed without its workflow; install it from "
            "a checkout (`python -m pip install -e .` there)"
        )
    return path
