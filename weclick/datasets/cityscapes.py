"""Cityscapes (Cordts et al., CVPR 2016), and the toy data set, which borrows its layout.

    leftImg8bit_sequence/{split}/{city}/{city}_{sequence:06}_{frame:06}_leftImg8bit.png   30-frame snippets
    leftImg8bit/...                                                       the annotated frames alone
    gtFine/{split}/{city}/{city}_{sequence:06}_{frame:06}_gtFine_labelIds.png, ..._gtFine_instanceIds.png

If the sequences lack a frame, leftImg8bit's is taken; missing neighbours do no harm. The twentieth frame of a
snippet is annotated: its neighbours run from -19 to +10. Some cities count frames from the start of the
recording, not of the snippet. So neighbours go by their offset from the annotated frame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from weclick.common.errors import InputError, MissingFileError
from weclick.common.sections import DataSection
from weclick.datasets.base import Dataset, assign_roles, list_files, list_folders
from weclick.datasets.toy.classes import CLASSES, INSTANCE_CLASSES, PALETTE
from weclick.manifest import IGNORE, Classes, Clip, Frame

SNIPPET = range(-19, 11)
"""Frames of a snippet, counted from the annotated one."""

LABELS: tuple[tuple[str, int, tuple[int, int, int]], ...] = (
    ("unlabeled", IGNORE, (0, 0, 0)),
    ("ego vehicle", IGNORE, (0, 0, 0)),
    ("rectification border", IGNORE, (0, 0, 0)),
    ("out of roi", IGNORE, (0, 0, 0)),
    ("static", IGNORE, (0, 0, 0)),
    ("dynamic", IGNORE, (111, 74, 0)),
    ("ground", IGNORE, (81, 0, 81)),
    ("road", 0, (128, 64, 128)),
    ("sidewalk", 1, (244, 35, 232)),
    ("parking", IGNORE, (250, 170, 160)),
    ("rail track", IGNORE, (230, 150, 140)),
    ("building", 2, (70, 70, 70)),
    ("wall", 3, (102, 102, 156)),
    ("fence", 4, (190, 153, 153)),
    ("guard rail", IGNORE, (180, 165, 180)),
    ("bridge", IGNORE, (150, 100, 100)),
    ("tunnel", IGNORE, (150, 120, 90)),
    ("pole", 5, (153, 153, 153)),
    ("polegroup", IGNORE, (153, 153, 153)),
    ("traffic light", 6, (250, 170, 30)),
    ("traffic sign", 7, (220, 220, 0)),
    ("vegetation", 8, (107, 142, 35)),
    ("terrain", 9, (152, 251, 152)),
    ("sky", 10, (70, 130, 180)),
    ("person", 11, (220, 20, 60)),
    ("rider", 12, (255, 0, 0)),
    ("car", 13, (0, 0, 142)),
    ("truck", 14, (0, 0, 70)),
    ("bus", 15, (0, 60, 100)),
    ("caravan", IGNORE, (0, 0, 90)),
    ("trailer", IGNORE, (0, 0, 110)),
    ("train", 16, (0, 80, 100)),
    ("motorcycle", 17, (0, 0, 230)),
    ("bicycle", 18, (119, 11, 32)),
)
"""Name, training id and colour of label ids 0..33, in that order."""

INSTANCE_NAMES = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
_NAME = re.compile(r"(?P<clip>.+)_(?P<number>\d+)_(leftImg8bit|gtFine)(_\w+)?")

Address = tuple[str, str, int]
"""Folder (city or toy clip), sequence prefix of the name, frame number."""


def cityscapes_classes() -> Classes:
    """The 19 training classes, in the order of their training ids, and how `labelIds` files encode them."""
    trained = [label for label in LABELS if label[1] != IGNORE]
    names = tuple(name for name, _, _ in trained)
    return Classes(
        names=names,
        palette=tuple(color for _, _, color in trained),
        instance_classes=tuple(names.index(name) for name in INSTANCE_NAMES),
        label_map={"ids": {str(value): train_id for value, (_, train_id, _) in enumerate(LABELS)}},
    )


def open_cityscapes(root: Path, data: DataSection) -> Dataset:
    """Cityscapes: one clip per annotated frame, named {city}_{sequence}_{annotated frame}."""
    return Dataset(
        name="cityscapes",
        root=root,
        classes=cityscapes_classes(),
        splits=tuple(folder.name for folder in list_folders(root / "gtFine")),
        list_clips=partial(_snippets, root, data.get("train", "train")),
    )


def open_toy(root: Path, data: DataSection) -> Dataset:
    """The procedural street: one clip per folder, every frame labelled with class ids.

    In training every `data.target_every`-th frame is a target (null: every frame); elsewhere all are scored.
    """
    instance_classes = tuple(CLASSES.index(name) for name in INSTANCE_CLASSES)
    return Dataset(
        name="toy",
        root=root,
        classes=Classes(CLASSES, PALETTE, instance_classes),
        splits=tuple(folder.name for folder in list_folders(root / "gtFine")),
        list_clips=partial(_toy_clips, root, data.get("train", "train"), data.get("target_every") or 1),
    )


def _snippets(root: Path, train: str, split: str) -> tuple[Clip, ...]:
    images = _images(root, split)
    labels, instances = _annotations(root, split, images)
    clips = []
    for city, sequence, number in labels:
        annotated = (city, sequence, number)
        snippet = [at for gap in SNIPPET if (at := (city, sequence, number + gap)) in images]
        # Only the snippet's own annotation: two annotated frames may lie close together in some cities.
        own_label, own_instances = {annotated: labels[annotated]}, _only(instances, annotated)
        frames = tuple(_frame(images[at], at, own_label, own_instances) for at in snippet)
        clip = Clip(f"{sequence}_{number:06d}", frames)
        clips.append(assign_roles(clip, [snippet.index(annotated)], training=split == train))
    return tuple(clips)


def _toy_clips(root: Path, train: str, target_every: int, split: str) -> tuple[Clip, ...]:
    images = _images(root, split)
    labels, instances = _annotations(root, split, images)
    clips: dict[str, list[Frame]] = {}
    for at in sorted(images):
        clips.setdefault(at[0], []).append(_frame(images[at], at, labels, instances))
    return tuple(_toy_clip(name, frames, split == train, target_every) for name, frames in clips.items())


def _toy_clip(name: str, frames: list[Frame], training: bool, target_every: int) -> Clip:
    expected = range(frames[0].number, frames[0].number + len(frames))
    lost = [number for number in expected if number not in {frame.number for frame in frames}]
    if lost:
        raise InputError(
            f"clip {name!r}: frame {lost[0]} is missing between {frames[0].image} and {frames[-1].image}; "
            "the toy's frames count without gaps: run `weclick toy`, which draws the clip again"
        )
    positions = range(0, len(frames), target_every if training else 1)
    return assign_roles(
        Clip(name, tuple(frames)), [i for i in positions if frames[i].label], training=training
    )


def _frame(image: str, at: Address, labels: dict[Address, str], instances: dict[Address, str]) -> Frame:
    return Frame(
        name=image.rpartition("/")[2].removesuffix(".png").removesuffix("_leftImg8bit"),
        number=at[2],
        image=image,
        label=labels.get(at),
        instances=instances.get(at),
    )


def _images(root: Path, split: str) -> dict[Address, str]:
    single = _index(root, f"leftImg8bit/{split}", "_leftImg8bit.png")
    return single | _index(root, f"leftImg8bit_sequence/{split}", "_leftImg8bit.png")


def _annotations(root: Path, split: str, images: Mapping[Address, str]) -> tuple[dict[Address, str], ...]:
    """Label and instance files by address; every label needs its frame."""
    labels = _index(root, f"gtFine/{split}", "_gtFine_labelIds.png")
    orphans = [name for at, name in labels.items() if at not in images]
    if orphans:
        raise MissingFileError(
            f"{root / orphans[0]}: its frame is missing in leftImg8bit_sequence/ and in leftImg8bit/ "
            f"({len(orphans)} such labels in all); unpack the frames of this split, or remove the labels"
        )
    return labels, _index(root, f"gtFine/{split}", "_gtFine_instanceIds.png")


def _only(files: dict[Address, str], at: Address) -> dict[Address, str]:
    return {at: files[at]} if at in files else {}


def _index(root: Path, folder: str, ending: str) -> dict[Address, str]:
    """All files below a folder with an ending, by address: their paths from the root.

    Paths are strings here: to make a `Path` for each of 90,000 files takes longer than to list them.
    """
    found = {}
    for inner in list_folders(root / folder):
        for path in list_files(inner, (".png",)):
            name = path.name
            match = _NAME.fullmatch(name[: -len(".png")]) if name.endswith(ending) else None
            if match:
                address = inner.name, match["clip"], int(match["number"])
                found[address] = f"{folder}/{inner.name}/{name}"
    return found
