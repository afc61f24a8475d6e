"""Where the figures of an experiment come from: day, machine, versions, revision, configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weclick.common import words
from weclick.common.code_digest import PACKAGE
from weclick.common.machine import machine
from weclick.runs.report.provenance import command, versions
from weclick.train.network_code import network_code
from weclick.train.recipe import TRAINING

_PRIVATE = ("results", "cache", "watch", "experiment", "ablation")
"""Sections that say where files lie and trainings are shown, or that the summary holds itself."""


def origin(device: str) -> dict[str, Any]:
    """What a reader needs to know of a figure's making.

    Args:
        device: cpu or cuda.
    """
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command(),
        "machine": machine(device) | {"cores": len(os.sched_getaffinity(0))},
        "versions": versions(),
        "revision": revision(),
        "environment": environment(),
        "training_code": network_code(*TRAINING),
    }


def shared_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that the arms change, without what says where files lie."""
    return {name: part for name, part in config.items() if name not in _PRIVATE}


def environment() -> str:
    """How the environment was made in which weclick runs: conda, venv, or system. Without any path."""
    if Path(sys.prefix, "conda-meta").is_dir():
        return "conda"
    return "venv" if sys.prefix != sys.base_prefix else "system"


def repeat_lines(told: Mapping[str, Any]) -> dict[str, Any]:
    """What one types to stand where an experiment was run.

    Args:
        told: the origin of a summary.

    Returns:
        lines: of a shell: the revision, and an environment with the same versions. dirty: whether files
        differed from the revision, so that it does not hold all that was run.
    """
    revision = str(told.get("revision") or "")
    versions = {name: version for name, version in told["versions"].items() if version != words.DASH}
    python = versions.pop("python", "3.11")
    short = ".".join(python.split(".")[:2])
    make = {
        "conda": f"conda create -n weclick python={python} && conda activate weclick",
        "venv": f"python{short} -m venv .venv && . .venv/bin/activate",
    }.get(told.get("environment", "venv"), f"# with Python {python}, in no environment of its own")
    versions.pop("weclick", None)
    pinned = " ".join(f"{name}=={version.partition('+')[0]}" for name, version in versions.items())
    checkout = [f"git checkout {revision.removesuffix('-dirty')}"] if revision else []
    install = [f"python -m pip install {pinned}"] * bool(pinned)
    lines = [*checkout, make, *install, "python -m pip install --no-deps -e ."]
    return {"lines": lines, "dirty": revision.endswith("-dirty")}


def revision() -> str | None:
    """The revision of the checkout that weclick runs from, with `-dirty` after it if files differ from it.

    None if weclick is installed from a package, or git does not tell.
    """
    where = ["git", "-C", str(PACKAGE)]
    try:
        subprocess.run([*where, "ls-files", "--error-unmatch", "__init__.py"], check=True, **_QUIET)
        told = subprocess.run(
            [*where, "describe", "--always", "--dirty", "--exclude=*"], check=True, **_QUIET
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None


_QUIET: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 30}
