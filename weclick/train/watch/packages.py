"""Whether the packages of watchers are installed. None of them is loaded, nor torch."""

from __future__ import annotations

import os
from importlib.util import find_spec

from weclick.common.errors import InputError
from weclick.common.sections import WatchSection

_SERVED = ("http:", "https:", "databricks", "file:")
"""What tracking URIs of MLflow begin with that need no database on this side."""


def watch_faults(options: WatchSection) -> list[str]:
    """A sentence for each watcher whose packages are not installed.

    Args:
        options: the section `watch`.
    """
    told = []
    for name in options["to"]:
        missing = [package for package in _needed(name, options) if find_spec(package) is None]
        if missing:
            are = "is" if len(missing) == 1 else "are"
            told.append(
                f"watch.to names {name}, but {' and '.join(missing)} {are} not installed; run "
                f"`pip install 'weclick[{name}]'`, or take {name} out of watch.to"
            )
    return told


def check_watch(options: WatchSection) -> None:
    """Check that the packages of all watchers are there, before anything is computed.

    Raises:
        InputError: one is not.
    """
    if told := watch_faults(options):
        raise InputError("; ".join(told))


def _needed(name: str, options: WatchSection) -> list[str]:
    if name != "mlflow":
        return [name]
    uri = options["mlflow_uri"] or os.environ.get("MLFLOW_TRACKING_URI", "")
    return ["mlflow"] if uri.startswith(_SERVED) else ["mlflow", "sqlalchemy", "alembic"]
