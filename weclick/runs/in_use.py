"""One run at a time in a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from weclick.common.files import hold

IN_USE = ".in_use"
"""File in the folder, locked while a run works there."""


def hold_results(results: Path) -> BinaryIO:
    """Keep other runs out of a folder of results, since runs remove outputs of jobs that they are to do.

    Returns:
        The locked file, to be kept open as long as the run lasts.

    Raises:
        InputError: another run is at work there.
        DiskFullError, UnwritableError: as in `room_to_write`.
    """
    return hold(
        results / IN_USE,
        f"{results}: another run is at work in this folder; wait until it has ended, since it may make what "
        "you want, or give this run another folder: --config results=OTHER",
    )
