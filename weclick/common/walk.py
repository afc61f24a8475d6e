"""All files below a folder, through links, each folder once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def walk_once(
    folder: Path, refuse: Callable[[OSError], Any] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Folders below a folder, and the names of their files. A folder that links lead to again comes once.

    Args:
        folder: where to begin; it comes first.
        refuse: called with the error for a folder that cannot be read; None passes over it.
    """
    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        try:
            found = Path(here).stat()
        except OSError:  # deleted meanwhile
            folders.clear()
            continue
        if (found.st_dev, found.st_ino) in seen:
            folders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        folders.sort()
        yield Path(here), sorted(names)
