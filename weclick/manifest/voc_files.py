"""Which annotation file in the layout of PASCAL VOC belongs to which frame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from weclick.common.errors import InputError, MissingFileError
from weclick.manifest.clips import Clip
from weclick.manifest.names import plain

FOLDER = "Annotations"


def voc_files(root: Path, clips: Iterable[Clip]) -> dict[tuple[str, str], Path]:
    """(clip id, frame name) -> its XML, `Annotations/<clip>/<frame>.xml`, or `Annotations/<frame>.xml`.

    A clip with a folder of its own in `Annotations/` has all of its files there. Frames without a file are
    left out, and so are files without a frame, which other splits may have.

    Args:
        root: of the data set.
        clips: with their frames.

    Raises:
        MissingFileError: there is no folder `Annotations`.
        InputError: one file would belong to frames of two clips.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        raise MissingFileError(
            f"{folder}: there is no such folder, but tags.source is 'voc'; put <frame>.xml there, or name "
            "another source"
        )
    shared = _by_stem(folder)
    found: dict[tuple[str, str], Path] = {}
    clip_of: dict[Path, str] = {}
    for clip in clips:
        files = _by_stem(folder / clip.id) or shared
        for frame in clip.frames:
            path = files.get(plain(frame.name))
            if path is None:
                continue
            if (other := clip_of.setdefault(path, clip.id)) != clip.id:
                raise InputError(
                    f"{path}: may belong to frame {frame.name!r} of clip {other!r} or of clip {clip.id!r}; "
                    f"put the files of each clip into {folder}/<clip>/"
                )
            found[clip.id, frame.name] = path
    return found


def _by_stem(folder: Path) -> dict[str, Path]:
    """XML files of a folder by their names without ending, in composed Unicode; none where there is none."""
    if not folder.is_dir():
        return {}
    paths = (path for path in folder.iterdir() if path.suffix.lower() == ".xml" and path.name[0] != ".")
    return {plain(path.stem): path for path in sorted(paths)}
