"""Files that tools leave for frames, as `<clip>/<frame>.png`: found by the names of frames, and read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np
from PIL import Image

from weclick.common.errors import InputError
from weclick.manifest import IGNORE, Clip
from weclick.manifest.images import read_ids, shrink_array, shrunk_size
from weclick.manifest.names import plain
from weclick.manifest.read import values_in


def clip_folder(path: Path, clip: Clip) -> Path | None:
    """The folder of a clip in a folder of clips, however its letters are composed; None if there is none."""
    named = (path / normalize(form, clip.id) for form in ("NFC", "NFD"))
    return next((folder for folder in (path / clip.id, *named) if folder.is_dir()), None)


def files_by_frame(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """The files of a clip's folder: `plain` name of the frame -> file.

    Raises:
        InputError: a frame has two files.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and path.name[0] != ".":
            other = found.setdefault(plain(path.stem), path)
            if other is not path:
                raise InputError(f"{folder}: {other.name!r} and {path.name!r} are of one frame; remove one")
    return found


def files_of(path: Path, clip: Clip, suffixes: Collection[str]) -> dict[int, Path]:
    """The files of a clip in a folder of clips: position of the frame -> file. Frames may be without one.

    Raises:
        InputError: a frame has two files.
    """
    folder = clip_folder(path, clip)
    found = files_by_frame(folder, suffixes) if folder else {}
    named = ((t, found.get(plain(frame.name))) for t, frame in enumerate(clip.frames))
    return {t: file for t, file in named if file}


def read_class_map(path: Path, sha256: str, clip: Clip, classes: Sequence[str], shrink: int) -> np.ndarray:
    """The class map in a file: (H, W) uint8 class ids of the size of the frame, 255 where nothing is known.

    Args:
        path: a grey or palette image, of the size of the frame as it is read, or as it is stored.
        sha256: of its content.
        clip: of the frame.
        classes: names; the position is the class id.
        shrink: of the manifest.

    Raises:
        ChangedFileError: it has other content.
        InputError: it holds other values, or is of another size.
    """
    ids = read_plane(path, sha256, clip, shrink, "class ids")
    bad = np.setdiff1d(values_in(ids), [*range(len(classes)), IGNORE])
    if bad.size:
        raise InputError(
            f"{path}: holds values {bad[:8].tolist()}, expected class ids 0..{len(classes) - 1} of "
            f"{', '.join(classes)}, or {IGNORE} where nothing is known; correct the file"
        )
    return ids.astype(np.uint8)


def read_plane(path: Path, sha256: str, clip: Clip, shrink: int, what: str) -> np.ndarray:
    """The values in an image of one channel, (H, W) of the size of the frame.

    Args:
        path, sha256, clip, shrink: as in `read_class_map`.
        what: the values are, for errors.

    Raises:
        ChangedFileError: it has other content.
        InputError: it has colours, or is of another size.
    """
    values = read_ids(path, sha256)
    if values.ndim != 2:
        raise InputError(
            f"{path}: holds colours, expected {what} in one channel; save it as a grey or palette image"
        )
    if values.shape == clip.size:
        return values
    if shrunk_size((values.shape[0], values.shape[1]), shrink) != clip.size:
        told = f"the size of the frame, {told_size(clip.size)}"
        if shrink > 1:
            told += f" as it is read (data.shrink {shrink}) or as it is stored"
        raise InputError(
            f"{path}: is {told_size(values.shape)} px (HxW), expected {told}; resize it by nearest neighbour"
        )
    return shrink_array(values, shrink, Image.Resampling.NEAREST)


def told_size(size: Iterable[int]) -> str:
    """A size as people write it: 480x854."""
    return "x".join(map(str, size))
