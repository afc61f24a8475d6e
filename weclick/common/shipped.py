"""What stands beside the package in a checkout, and is copied into it when it is built: schemas, workflow."""

from __future__ import annotations

from pathlib import Path

from weclick.common.errors import MissingFileError

COPIES = "shipped"
"""Folder of the installed package that holds the copies, by the names they have in a checkout."""


def shipped(name: str) -> Path:
    """The path of a file or folder of the checkout's top, or of its copy in an installed package.

    Raises:
        MissingFileError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for top in (package / COPIES, package.parent):
        if (top / name).exists():
            return top / name
    raise MissingFileError(
        f"{name} is neither in {package / COPIES} nor in {package.parent}; reinstall weclick"
    )
