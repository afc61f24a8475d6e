"""Lists of images and clips, as data sets bring them: one a line, often with its label beside it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from weclick.manifest.images import IMAGE_SUFFIXES


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
