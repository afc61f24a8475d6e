"""Where a data set comes to lie: the user's folder itself, or a folder whose links lead to it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from weclick.common.errors import InputError, MissingFileError
from weclick.datasets.base import list_files, list_folders
from weclick.manifest.images import IMAGE_SUFFIXES
from weclick.manifest.tag_file import TAG_FILE
from weclick.manifest.video import VIDEO_SUFFIXES

VIDEOS, FRAMES = "videos", "frames"


@dataclass(frozen=True)
class Place:
    """The folder of a data set.

    Attributes:
        root: `data.root`.
        links: link to make -> folder or table of tags that it leads to. There are none if the folder is laid
            out already.
    """

    root: Path
    links: dict[Path, Path]


def find_place(folder: Path, root: Path | None = None) -> Place:
    """Look how a folder holds its videos and images; nothing is opened, moved or copied.

    Args:
        folder: a data set, or one that holds videos, images, folders of images, or folders of videos.
        root: where a data set is made of such a folder; None: data/<name of the folder>.

    Raises:
        MissingFileError: there is no such folder.
        InputError: it holds neither videos nor images, or is itself where the data set would be made.
    """
    if not folder.is_dir():
        raise MissingFileError(
            f"{folder}: there is no such folder; name the one that holds your videos or images"
        )
    if any((folder / name).is_dir() for name in (VIDEOS, FRAMES)):
        return Place(folder, {})
    root = root or Path("data") / folder.resolve().name
    links = {root / name: path.resolve() for name, path in _parts(folder).items()}
    if links and (folder / TAG_FILE).is_file() and not (root / TAG_FILE).exists():
        links[root / TAG_FILE] = (folder / TAG_FILE).resolve()
    if not links:
        raise InputError(
            f"{folder}: holds neither videos ({', '.join(VIDEO_SUFFIXES[:4])}, ...) nor images "
            f"({', '.join(IMAGE_SUFFIXES)}), and no folders of these; name the folder that does. Known "
            "data sets have configurations of their own, e.g. `weclick run camvid`"
        )
    if root.resolve() == folder.resolve():
        kind = next(iter(links)).relative_to(root).parts[0]
        raise InputError(
            f"{folder}: its {'videos' if kind == VIDEOS else 'images'} lie loose where the data set would "
            f"be; move them into {folder / kind}, or name another folder with --data"
        )
    return Place(root, links)


def _parts(folder: Path) -> dict[str, Path]:
    """Name inside a data set -> the folder of the user that belongs there."""
    inside = list_folders(folder)
    parts: dict[str, Path] = {}
    if list_files(folder, VIDEO_SUFFIXES) or any(list_files(each, VIDEO_SUFFIXES) for each in inside):
        parts[VIDEOS] = folder
    if any(map(list_files, inside)):
        parts[FRAMES] = folder
    elif list_files(folder):
        parts[f"{FRAMES}/{folder.resolve().name}"] = folder
    return parts


def make_links(place: Place, undo: ExitStack) -> None:
    """Make the links of a place; those that are there stay.

    Args:
        place: see `find_place`.
        undo: what takes away again, once it is closed, all that was made.

    Raises:
        InputError: something else lies there.
    """
    for link, target in place.links.items():
        if link.is_symlink() and link.resolve() == target:
            continue
        if link.is_symlink() or link.exists():
            raise InputError(
                f"{link}: lies where a link to {target} would be; remove it, or name another --data"
            )
        for parent in reversed(link.parents):
            if not parent.exists():
                parent.mkdir()
                undo.callback(parent.rmdir)
        link.symlink_to(target)
        undo.callback(link.unlink)
