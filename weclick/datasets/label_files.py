"""Label and instance files of a plain folder: which file belongs to which frame, and which to none."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from weclick.common.errors import InputError
from weclick.datasets.base import list_files, list_folders
from weclick.datasets.file_names import by_stem, last_number, shift_between
from weclick.manifest import Clip
from weclick.manifest.images import IMAGE_SUFFIXES
from weclick.manifest.names import nearest, plain

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
"""Formats that keep every value. A JPEG changes them, so it cannot be a label."""

_OTHER_FORMATS = (
    *(suffix for suffix in IMAGE_SUFFIXES if suffix not in LABEL_SUFFIXES),
    *(".gif", ".jp2", ".exr", ".npy", ".npz", ".mat"),
)


def check_folders(root: Path, clips: Iterable[str]) -> None:
    """Check that everything in `labels/` and `instances/` lies in the folder of a clip.

    Args:
        root: of the data set.
        clips: names in composed Unicode.

    Raises:
        InputError: a folder has no clip, two folders have one, or files lie outside of these folders.
    """
    known = set(clips)
    searched = any("/" in clip for clip in known)
    for kind in ("labels", "instances"):
        seen: dict[str, Path] = {}
        for name, folder in _folders(root / kind, searched=searched):
            other = seen.setdefault(plain(name), folder)
            if other is not folder:
                raise InputError(
                    f"{root / kind}: two folders are named {name!r}, in two forms of Unicode; put "
                    "their files into one"
                )
            if plain(name) not in known:
                names = sorted(known)
                raise InputError(
                    f"{folder}: holds {kind} without frames; the clips are {', '.join(names[:20])}"
                    f"{nearest(name, names)}; give the folder the name of its clip, or remove it"
                )
        classes = list_folders(root / kind) if searched else []
        loose = [path for place in (root / kind, *classes) for path in list_files(place, LABEL_SUFFIXES)]
        if loose:
            raise InputError(
                f"{loose[0]}: belongs to no clip ({len(loose)} such files); put {kind} into {kind}/<clip>/"
            )


def label_files(root: Path, kind: str, clip: Clip) -> dict[int, str]:
    """The files of one kind of a clip: position of the frame -> path from the root.

    Args:
        root: of the data set.
        kind: labels or instances.
        clip: with its frames.

    Raises:
        InputError: a file belongs to no frame, two belong to one, or a format does not keep values.
    """
    folder = _folder(root / kind, clip.id)
    if folder is None:
        return {}
    positions = {plain(name): i for name, i in clip.positions().items()}
    _check_formats(folder, kind)
    files = by_stem(list_files(folder, LABEL_SUFFIXES))
    strays = [path for stem, path in files.items() if stem not in positions]
    if strays:
        raise InputError(
            f"{strays[0]}: belongs to no frame; clip {clip.id!r} has {len(clip.frames)} frames, e.g. "
            f"{clip.frames[0].name!r}{_shift(files, clip)}; give the file its frame's name, or remove it"
        )
    found: dict[int, Path] = {}
    for stem, path in files.items():
        other = found.setdefault(positions[stem], path)
        if other is not path:
            raise InputError(f"{folder}: {other.name!r} and {path.name!r} belong to one frame; remove one")
    return {i: path.relative_to(root).as_posix() for i, path in found.items()}


def _folder(parent: Path, clip: str) -> Path | None:
    """The folder of a clip, whatever its Unicode form."""
    if (parent / clip).is_dir():
        return parent / clip
    folders = _folders(parent, searched="/" in clip)
    return next((path for name, path in folders if plain(name) == plain(clip)), None)


def _folders(parent: Path, *, searched: bool) -> list[tuple[str, Path]]:
    """Names of clips and their folders; with `searched` they lie in folders of classes."""
    outer = list_folders(parent)
    if not searched:
        return [(folder.name, folder) for folder in outer]
    inner = [(f"{folder.name}/{path.name}", path) for folder in outer for path in list_folders(folder)]
    return inner + [(folder.name, folder) for folder in outer if not list_folders(folder)]


def _check_formats(folder: Path, kind: str) -> None:
    deeper = [path for inner in list_folders(folder) for path in list_files(inner, LABEL_SUFFIXES)]
    if deeper:
        raise InputError(
            f"{deeper[0]}: lies too deep ({len(deeper)} such files); put {kind} into {folder} itself, or "
            "move them elsewhere"
        )
    other = list_files(folder, _OTHER_FORMATS)
    if other:
        raise InputError(
            f"{other[0]}: is not read, since {kind} are PNG, TIFF or BMP files, which keep every value; "
            f"save it as one of these, or move it elsewhere ({len(other)} such files)"
        )


def _shift(files: Collection[str], clip: Clip) -> str:
    """How the numbers of files differ from those of the frames, where one shift explains it."""
    numbers = [number for stem in files if (number := last_number(stem)) is not None]
    by = shift_between(numbers, [frame.number for frame in clip.frames])
    if not by or len(numbers) < len(files):
        return ""
    return (
        f"; the {len(numbers)} files count from {min(numbers)}, its frames from {clip.frames[0].number}, and "
        f"all would fit if {abs(by)} were {'added to' if by > 0 else 'taken from'} their numbers"
    )
