"""YouTube-Objects (Prest et al., CVPR 2012), with the masks of Jain and Grauman (ECCV 2014).

    <class>/data/<video>/shots/<shot>/frame0001.jpg          every frame of a shot
    <class>/data/<video>/shots/<shot>/labels/00001.jpg       masks, on about every tenth frame of 126 shots

Mirrors differ. The folder `data` may be missing, frames may lie in `images/` inside a shot, masks may be
PNG, and all of it may lie in `v1/` or `youtube_masks/` of the root, frames in one and masks in the other. If
a shot has masks in one place and frames in two, the frames beside the masks are taken, since their sizes
agree. `weclick doctor` names what fits none of this.

A shot is a clip, `<class>/<video>/<shot>`. So the part before the first slash is its tag. Numbers in names
count frames; a mask belongs to the frame of its number. A mask is black and white, perhaps a JPEG: grey
levels from 128 on are the class of its folder, all others background.

As in papers that learn from tags (Saleh et al., ICCV 2017; Lee et al., ICCV 2019), the split `train` has the
shots without masks, and `val` those with masks, whose masked frames are scored. With `data.train: val` these
frames are learned from instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from weclick.common.errors import InputError
from weclick.common.findings import Finding, many
from weclick.common.sections import DataSection
from weclick.datasets.base import Dataset, assign_roles, list_files, list_folders
from weclick.datasets.file_names import last_number
from weclick.datasets.voc import NAMES as VOC_NAMES
from weclick.datasets.voc import voc_color
from weclick.manifest import Classes, Clip, Frame
from weclick.manifest.names import nearest

OBJECTS = ("aeroplane", "bird", "boat", "car", "cat", "cow", "dog", "horse", "motorbike", "train")
NAMES = ("background", *OBJECTS)

PLACES = (".", "v1", "youtube_masks")
"""Folders of the root that may hold the folders of the classes."""

CLASSES = Classes(
    names=NAMES,
    palette=tuple(voc_color(VOC_NAMES.index(name)) for name in NAMES),
    label_map={"masks": {name: NAMES.index(name) for name in OBJECTS}},
)

MASK_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_EXPECTED = "<class>/data/<video>/shots/<shot>/frame0001.jpg"


@dataclass(frozen=True)
class _Shot:
    """The files of a shot, by the numbers of their frames."""

    frames: Mapping[int, Path]
    masks: Mapping[int, Path]


def open_youtube_objects(root: Path, data: DataSection) -> Dataset:
    """YouTube-Objects: one clip a shot.

    Raises:
        InputError: there is not one shot in the layouts that are known.
    """
    if next(_places(root), None) is None:
        raise InputError(
            f"{root}: is no YouTube-Objects, since it has no shots; expected {_EXPECTED}, where the class is "
            f"one of {', '.join(OBJECTS)}"
        )
    train, shots = data.get("train", "train"), cache(partial(_shots, root))

    def listed(split: str) -> tuple[Clip, ...]:
        return tuple(
            _clip(root, name, shot, training=split == train)
            for name, shot in shots().items()
            if (shot.frames or shot.masks) and bool(shot.masks) == (split == "val")
        )

    return Dataset(
        name="youtube_objects",
        root=root,
        classes=CLASSES,
        splits=("train", "val"),
        list_clips=listed,
        look=lambda split: _strange(root, shots()) if split == train else (),
    )


def _places(root: Path) -> Iterator[tuple[str, Path]]:
    """Id and folder of every shot; a shot that lies in two places comes twice."""
    for folder, name in _class_folders(root):
        for video in [*list_folders(folder / "data"), *list_folders(folder)]:
            for shot in list_folders(video / "shots"):
                yield f"{name}/{video.name}/{shot.name}", shot


def _class_folders(root: Path) -> Iterator[tuple[Path, str]]:
    for place in PLACES:
        for name in OBJECTS:
            if (root / place / name).is_dir():
                yield root / place / name, name


def _shots(root: Path) -> dict[str, _Shot]:
    folders: dict[str, list[Path]] = {}
    for name, folder in _places(root):
        folders.setdefault(name, []).append(folder)
    return {name: _shot(found) for name, found in folders.items()}


def _shot(folders: Sequence[Path]) -> _Shot:
    """A shot that lies in some folders: the first masks, and the frames beside them or else the first."""
    masks = {folder: _by_number(list_files(folder / "labels", MASK_SUFFIXES)) for folder in folders}
    ordered = sorted(folders, key=lambda folder: not masks[folder])
    files = (list_files(folder) or list_files(folder / "images") for folder in ordered)
    return _Shot(_by_number(next(filter(None, files), [])), masks[ordered[0]])


def _by_number(paths: Sequence[Path]) -> dict[int, Path]:
    """Files by the last number in their names.

    Raises:
        InputError: a name has no number, or two have the same.
    """
    found: dict[int, Path] = {}
    for path in paths:
        number = last_number(path.stem)
        if number is None:
            raise InputError(
                f"{path}: has no number in its name, which tells its frame; expected a name such as "
                "frame0001.jpg or labels/00001.jpg: rename it, or move it elsewhere"
            )
        other = found.setdefault(number, path)
        if other is not path:
            raise InputError(
                f"{path.parent}: {other.name!r} and {path.name!r} have one number, {number}; remove one"
            )
    return found


def _clip(root: Path, name: str, shot: _Shot, *, training: bool) -> Clip:
    strays = sorted(shot.masks.keys() - shot.frames.keys())
    if strays:
        there = f"{min(shot.frames)} to {max(shot.frames)}" if shot.frames else "none"
        raise InputError(
            f"{shot.masks[strays[0]]}: its frame {strays[0]} is missing ({len(strays)} such masks; shot "
            f"{name} has the frames {there}); restore the frames, or remove the masks"
        )
    frames = tuple(
        Frame(
            name=image.stem,
            number=number,
            image=image.relative_to(root).as_posix(),
            label=shot.masks[number].relative_to(root).as_posix() if number in shot.masks else None,
        )
        for number, image in sorted(shot.frames.items())
    )
    labelled = [t for t, frame in enumerate(frames) if frame.label]
    return assign_roles(Clip(name, frames), labelled, training=training)


def _strange(root: Path, shots: Mapping[str, _Shot]) -> list[Finding]:
    """What of the folder fits none of the layouts, and the classes that have no shot."""
    empty = {name for name, shot in shots.items() if not shot.frames and not shot.masks}
    unread = [f"{path}: {why}" for path, why in _unread(root)]
    unread += [f"{path}: holds no frames" for name, path in _places(root) if name in empty]
    missing = [name for name in OBJECTS if not any(shot.partition("/")[0] == name for shot in shots)]
    found = []
    if unread:
        found.append(many("warning", "layout", unread, f"rename or move what you miss to {_EXPECTED}"))
    if missing:
        todo = "unpack the archives of these classes, if you want them"
        found.append(Finding("warning", "classes", f"there is no shot of {', '.join(missing)}", todo))
    return found


def _unread(root: Path) -> Iterator[tuple[Path, str]]:
    """Folders that nothing is read from, and why."""
    for place in PLACES:
        for folder in list_folders(root / place):
            known = folder.name in OBJECTS or (place == "." and folder.name in PLACES)
            if not known:
                yield folder, f"is no class{nearest(folder.name, OBJECTS)}"
    for folder, _ in _class_folders(root):
        videos = [path for path in list_folders(folder) if path.name != "data"]
        for video in [*list_folders(folder / "data"), *videos]:
            if not list_folders(video / "shots"):
                yield video, "holds no shots/<shot>/"
