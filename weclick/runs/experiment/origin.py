"""Where the figures of an experiment come from: day, machine, versions, revision, configuration."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from weclick.common.code_digest import PACKAGE
from weclick.common.machine import machine
from weclick.runs.report.provenance import command, versions
from weclick.train.network_code import network_code
from weclick.train.recipe import TRAINING

_PRIVATE = ("results", "cache", "experiment", "ablation")
"""Sections that say where files lie, or that the summary holds itself."""


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
        "training_code": network_code(*TRAINING),
    }


def shared_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that the arms change, without what says where files lie."""
    return {name: part for name, part in config.items() if name not in _PRIVATE}


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
