"""Lists of images and clips, as data sets bring them: one a line, often with its label beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from weclick.common.errors import InputError
from weclick.manifest.images import IMAGE_SUFFIXES
from weclick.manifest.names import nearest, plain, same_name


def read_list(path: Path) -> list[list[str]]:
    """The words of each line that has some: names or paths. None where there is no such file."""
    if not path.is_file():
        return []
    lines = (line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [words for words in lines if words]


def listed_name(word: str) -> str:
    """The name of the image that a word of a list names, with or without its folder and ending."""
    path = PurePosixPath(word)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def named_by(patterns: Iterable[str], names: Sequence[str]) -> set[str]:
    """The clips that `data.val_clips` names, as they are or by patterns; each must match one.

    The name of a clip is that clip and no pattern, so `run[1]` is `run[1]` and not `run1`.

    Raises:
        InputError: nothing matches one of them.
    """
    found: set[str] = set()
    for pattern in patterns:
        exact = same_name(pattern, names)
        matched = {exact} if exact else {name for name in names if fnmatchcase(plain(name), plain(pattern))}
        if not matched:
            raise InputError(
                f"data.val_clips: {pattern!r} matches none of the clips {', '.join(sorted(names)[:20])}"
                f"{nearest(pattern, names)}"
            )
        found |= matched
    return found
