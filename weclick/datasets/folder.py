"""A plain folder: your own frames or videos, some of them labelled or clicked.

    frames/<clip>/<stem>.jpg     a folder of images per clip, or
    videos/<clip>.mp4            a video file per clip (its frames are named 00000, 00001, ...)
    frames/<class>/<video>/<stem>.jpg, videos/<class>/<video>.mp4
                                 what a search for a class found: the clip is <class>/<video>
    labels/<clip>/<stem>.png     class ids as grey or palette values, 255 is ignored, or the colours of
                                 classes.yaml; any subset of frames; PNG, TIFF or BMP
    instances/<clip>/<stem>.png  optional: class id * 1000 + k as in Cityscapes; values < 1000: no objects
    classes.yaml                 names and colours, see CLASSES_EXAMPLE; `data.classes` may name another file

Frames are ordered by their names, numbers in them as numbers. If the last numbers rise in that order, they
tell the time between frames. They may have gaps, and a window takes only neighbours that exist.
A clip of one frame trains without neighbours; a clip without frames is an error.

People's clicks lie in clicks.jsonl, or in the file that `data.clicks` names: a log like that, or a table, CSV
with the header clip,frame,y,x,class. With clicks, no label is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.common.errors import InputError, MissingFileError
from weclick.common.sections import DataSection, Mix
from weclick.common.yaml_files import NULLS, Plain, number, read_yaml
from weclick.datasets.base import Dataset
from weclick.datasets.file_names import CONTROLS
from weclick.datasets.folder_clips import list_clips
from weclick.datasets.lists import named_by
from weclick.datasets.roles import Roles, clicked_frames
from weclick.manifest import Classes, Clip
from weclick.manifest.click_log import CLICK_LOG
from weclick.manifest.names import nearest, plain, same_name

CLASSES_EXAMPLE = """\
classes:
  - {name: background, color: [0, 0, 0]}
  - {name: car, color: [64, 0, 128]}
instance_classes: [car]   # optional: classes whose objects instances/ tells apart
"""


@dataclass(frozen=True)
class _Folder:
    """What the adapter needs to list a split."""

    root: Path
    train: str
    val: str
    held_out: str
    held_out_every: int | None
    val_clips: tuple[str, ...]
    target_every: int
    click_file: Path | None
    mix: Mix

    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips of a split with their targets or scored frames."""
        clips = list_clips(self.root)
        clicked = clicked_frames(self.click_file, clips) if self.click_file else None
        roles = Roles(self.target_every, self.mix, clicked)
        training = split == self.train
        if self.held_out == "clips":
            names = _held_out(clips, self.val_clips)
            clips = [clip for clip in clips if (clip.id in names) != training]
            scored = roles.of_held_out_clip
        else:
            roles = roles.holding_out(clips, self.held_out_every)
            scored = roles.of_other_frames
        return tuple(map(roles.of_training if training else scored, clips))


def open_folder(root: Path, data: DataSection, mix: Mix = "human") -> Dataset:
    """A plain folder; `data.held_out` says what the validation split is.

    clips: the clips whose names match `data.val_clips` are held out, and all their labelled and clicked
    frames scored; the others train. other_frames: every clip trains, and its labelled frames that are no
    targets are scored; with people's clicks also every `data.held_out_every`-th frame that they clicked in.

    Every `data.target_every`-th frame from the first on is a target if it has a label. Where people clicked,
    `mix` decides: human takes every frame that they clicked in, masks those labelled, human_else_masks both.

    Raises:
        ValueError, FileNotFoundError: the classes file or the click file is missing or malformed.
    """
    clicks, log = data.get("clicks"), root / CLICK_LOG
    click_file = Path(clicks) if clicks else log if log.is_file() and log.stat().st_size else None
    if click_file and not click_file.is_file():
        raise MissingFileError(
            f"data.clicks is {click_file}, but there is no such file; correct the path, "
            "or remove the key to make clicks from labels"
        )
    if mix == "masks":
        click_file = None
    folder = _Folder(
        root=root,
        train=data.get("train", "train"),
        val=data.get("val", "val"),
        held_out=data.get("held_out", "clips"),
        held_out_every=data.get("held_out_every"),
        val_clips=tuple(data.get("val_clips", ())),
        target_every=data.get("target_every") or 1,
        click_file=click_file,
        mix=mix,
    )
    return Dataset(
        name="folder",
        root=root,
        classes=read_classes(Path(data.get("classes") or root / "classes.yaml")),
        splits=(folder.train, folder.val),
        list_clips=folder.clips,
        click_file=_relative(click_file, root) if click_file else None,
        mix=mix,
        unscored=folder.val if click_file and folder.val != folder.train else None,
    )


def read_classes(path: Path) -> Classes:
    """A classes file, YAML or JSON; CLASSES_EXAMPLE shows one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not read like the example.
    """
    if not path.parent.is_dir():
        raise MissingFileError(
            f"{path}: there is no folder {path.parent}; correct the path. It is the data set's folder, which "
            "holds videos/ or frames/"
        )
    if not path.is_file():
        raise MissingFileError(
            f"{path}: the classes file is missing (data.classes may name another one); "
            f"write one like this:\n{CLASSES_EXAMPLE.rstrip()}"
        )
    raw = read_yaml(path)
    try:
        items = _items(raw)
        names = tuple(_class_name(item["name"]) for item in items)
        palette = tuple(_color(item["color"]) for item in items)
        instance_classes = tuple(_of_objects(raw.get("instance_classes"), names))
    except InputError as error:
        raise InputError(
            f"{path}: is no classes file ({error}); it should read like this:\n{CLASSES_EXAMPLE.rstrip()}"
        ) from error
    if not 0 < len({plain(name) for name in names}) == len(names) < 255:
        raise InputError(
            f"{path}: holds {len(names)} classes, expected 1 to 254 with different names; got {names}"
        )
    return Classes(names, palette, instance_classes)


def _items(raw: Any) -> list[dict[str, Any]]:
    """What the file says of each class."""
    items = raw.get("classes") if isinstance(raw, dict) else None
    if not isinstance(items, list):
        raise InputError("it has no list 'classes'")
    for index, item in enumerate(items):
        lacking = {"name", "color"} - set(item) if isinstance(item, dict) else {"name", "color"}
        if lacking:
            raise InputError(f"class {index} has no {' and no '.join(sorted(lacking))}")
    return items


def _of_objects(given: Any, names: tuple[str, ...]) -> Iterator[int]:
    """Ids of the classes whose objects instances/ tells apart, whatever the Unicode form of a name."""
    if given is None or (isinstance(given, Plain) and given in NULLS):
        return
    if not isinstance(given, list):
        raise InputError(f"instance_classes holds {given}, expected a list of names of classes")
    for name in map(str, given):
        known = same_name(name, names)
        if known is None:
            raise InputError(f"instance_classes names {name!r}, which is no class{nearest(name, names)}")
        yield names.index(known)


def _class_name(value: Any) -> str:
    """A name as it was written: no, null and 1.10 are names like others."""
    name = "" if isinstance(value, dict | list) else str(value)
    if not name or CONTROLS.search(name):
        raise InputError(f"the name {name!r} is empty or holds control characters")
    return name


def _color(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise InputError(f"the color {value} is no list of three numbers from 0 to 255 such as [64, 0, 128]")
    levels = [_level(part) for part in value]
    if any(isinstance(level, float) for level in levels) and 0 < max(levels) <= 1:
        raise InputError(f"color {_told(value)} holds fractions; multiply them by 255")
    red, green, blue = (int(level) for level in levels)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise InputError(f"color {_told(value)} is outside 0..255")
    return red, green, blue


def _level(part: Any) -> int | float:
    level = number(part) if isinstance(part, str) else part
    if type(level) is int or (isinstance(level, float) and level.is_integer()):
        return level
    raise InputError(
        f"a color holds {part}, expected whole numbers from 0 to 255 without a leading 0; multiply fractions "
        "of 1 by 255"
    )


def _told(color: Iterable[Any]) -> str:
    return f"[{', '.join(map(str, color))}]"


def _relative(path: Path, root: Path) -> str:
    """The path from the root if it lies inside, else the absolute path."""
    path, root = path.resolve(), root.resolve()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _held_out(clips: Iterable[Clip], patterns: Iterable[str]) -> set[str]:
    """Ids of the clips that `data.val_clips` names."""
    names = [clip.id for clip in clips]
    held_out = named_by(patterns, names)
    if not held_out:
        raise InputError(
            f"data.val_clips is empty, so no clip is held out; name some of {', '.join(sorted(names)[:20])}, "
            "or set data.held_out to other_frames"
        )
    return held_out
