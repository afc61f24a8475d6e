"""CamVid: street video, 701 frames labelled (Brostow, Fauqueur, Cipolla, Pattern Recognition Letters 2009).

Two layouts are read:

- that of the SegNet tutorial: `train/`, `trainannot/` and likewise for val and test, labels as ids 0..11;
- the original one: `701_StillsRaw_full/<stem>.png`, `LabeledApproved_full/<stem>_L.png` in 32 colours, and
  lists `train.txt`, `val.txt`, `test.txt` of stems (or paths). The original comes without these lists.

Either layout may have unlabelled neighbours in `frames30/<sequence>/<sequence>_<number>.png` (or .jpg), of
the same size as the labelled frames. Names are `<sequence>_<number>` or `<sequence>_f<number>`; the number
counts frames of the 30 Hz source video. Gaps between numbers are legal: labels come once a second.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from functools import partial
from pathlib import Path

from weclick.common.errors import InputError, MissingFileError
from weclick.common.sections import DataSection
from weclick.datasets.base import Dataset, assign_roles, list_files
from weclick.datasets.file_names import by_stem
from weclick.datasets.lists import listed_name, read_list
from weclick.manifest import IGNORE, Classes, Clip, Frame

NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign_symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOID = 11
"""Label value of void in the SegNet layout."""

COLORS: dict[str, tuple[str, ...]] = {
    "sky": ("128,128,128",),  # Sky
    "building": (
        "128,0,0",
        "0,128,64",
        "64,192,0",
        "64,0,64",
        "192,0,128",
    ),  # and Bridge, Wall, Tunnel, Archway
    "pole": ("192,192,128", "0,0,64"),  # Column_Pole, TrafficCone
    "road": ("128,64,128", "128,0,192", "192,0,64"),  # Road, LaneMkgsDriv, LaneMkgsNonDriv
    "pavement": ("0,0,192", "64,192,128", "128,128,192"),  # Sidewalk, ParkingBlock, RoadShoulder
    "tree": ("128,128,0", "192,192,0"),  # Tree, VegetationMisc
    "sign_symbol": ("192,128,128", "128,128,64", "0,64,64"),  # SignSymbol, Misc_Text, TrafficLight
    "fence": ("64,64,128",),  # Fence
    "car": (
        "64,0,128",
        "64,128,192",
        "192,128,192",
        "192,64,128",
        "128,64,64",
    ),  # SUV, Truck_Bus, Train, OtherMoving
    "pedestrian": ("64,64,0", "192,128,64", "64,0,192", "64,128,64"),  # and Child, CartLuggagePram, Animal
    "bicyclist": ("0,128,192", "192,0,192"),  # Bicyclist, MotorcycleScooter
}
"""Colours of the original labels, grouped into 11 classes as in SegNet; pictures show the first."""

STILLS, STILL_LABELS = "701_StillsRaw_full", "LabeledApproved_full"
DENSE = "frames30"
_STEM = re.compile(r"(?P<sequence>.+)_f?(?P<number>\d+)")


def open_camvid(root: Path, data: DataSection) -> Dataset:
    """CamVid in either layout; every sequence of a split is a clip, so no window crosses a split.

    Raises:
        ValueError: the folder holds neither layout, or holds the original one without lists of its splits.
    """
    original = (root / STILLS).is_dir()
    splits = _splits_by_list(root) if original else _splits_by_folder(root)
    ids = {str(i): i for i in range(len(NAMES))} | {str(VOID): IGNORE}
    colors = {color: i for i, name in enumerate(NAMES) for color in COLORS[name]}
    palette = tuple(_rgb(COLORS[name][0]) for name in NAMES)
    return Dataset(
        name="camvid",
        root=root,
        classes=Classes(NAMES, palette, label_map={"colors": colors} if original else {"ids": ids}),
        splits=splits,
        list_clips=partial(_list_clips, root, original, splits, data.get("train", "train")),
    )


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in color.split(","))
    return red, green, blue


def _splits_by_folder(root: Path) -> tuple[str, ...]:
    splits = tuple(sorted(path.name[: -len("annot")] for path in root.glob("?*annot") if path.is_dir()))
    if not splits:
        raise InputError(
            f"{root}: is no CamVid; expected train/ and trainannot/ (the SegNet layout), "
            f"or {STILLS}/ and {STILL_LABELS}/ (the original one)"
        )
    return splits


def _splits_by_list(root: Path) -> tuple[str, ...]:
    splits = tuple(sorted(path.stem for path in root.glob("*.txt") if path.stem in ("train", "val", "test")))
    if not splits:
        raise InputError(
            f"{root}: {STILLS}/ is there, but nothing says which frames are in which split; put train.txt, "
            "val.txt and test.txt beside it, one name such as 0001TP_006690 a line "
            "(the SegNet tutorial has such lists)"
        )
    return splits


def _list_clips(
    root: Path, original: bool, splits: tuple[str, ...], train: str, split: str
) -> tuple[Clip, ...]:
    frames = {each: _labelled_frames(root, original, each) for each in splits}
    _add_dense(root, frames)
    sequences: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames[split]:
        sequences[_parse(frame.name)[0]].append(frame)
    return tuple(_clip(split, name, sequence, split == train) for name, sequence in sequences.items())


def _clip(split: str, sequence: str, frames: list[Frame], training: bool) -> Clip:
    ordered = tuple(sorted(frames, key=lambda frame: frame.number))
    labelled = [i for i, frame in enumerate(ordered) if frame.label]
    return assign_roles(Clip(f"{split}_{sequence}", ordered), labelled, training=training)


def _labelled_frames(root: Path, original: bool, split: str) -> list[Frame]:
    """The frames of a split that lists and folders name; in the SegNet layout some may lack a label."""
    image_folder, label_folder = (
        (root / STILLS, root / STILL_LABELS) if original else (root / split, root / f"{split}annot")
    )
    images = by_stem(list_files(image_folder))
    labels = {stem.removesuffix("_L"): path for stem, path in by_stem(list_files(label_folder)).items()}
    listed = [listed_name(words[0]) for words in read_list(root / f"{split}.txt")]
    for stem in listed:
        if stem not in images or stem not in labels:
            folder = image_folder if stem not in images else label_folder
            raise MissingFileError(
                f"{folder}: lacks {stem}, which {split}.txt names; restore it or correct the list"
            )
    orphans = sorted(labels.keys() - images.keys())
    if orphans:
        raise InputError(
            f"{label_folder}: {len(orphans)} labels have no frame in {image_folder}, e.g. {orphans[0]}; "
            "restore the frames or remove the labels"
        )
    stems = listed or sorted(images)
    return [_frame(root, images[stem], labels.get(stem)) for stem in stems]


def _frame(root: Path, image: Path, label: Path | None) -> Frame:
    return Frame(
        name=image.stem,
        number=_parse(image.stem)[1],
        image=image.relative_to(root).as_posix(),
        label=label.relative_to(root).as_posix() if label else None,
    )


def _parse(stem: str) -> tuple[str, int]:
    """Sequence and frame number of a stem, e.g. 0016E5_07959, Seq05VD_f00000."""
    match = _STEM.fullmatch(stem)
    if match is None:
        raise InputError(
            f"frame {stem!r} is not named like CamVid: expected <sequence>_<number>, e.g. 0016E5_07959"
        )
    return match["sequence"], int(match["number"])


def _add_dense(root: Path, frames: dict[str, list[Frame]]) -> None:
    """Give every unlabelled frame of `frames30` to the split of the labelled frame nearest to it."""
    labelled: dict[str, dict[int, str]] = defaultdict(dict)
    for split, members in frames.items():
        for frame in members:
            sequence, number = _parse(frame.name)
            labelled[sequence][number] = split
    for sequence, owners in labelled.items():
        numbers = sorted(owners)
        for path in by_stem(list_files(root / DENSE / sequence)).values():
            frame = _frame(root, path, None)
            if frame.number not in owners:
                frames[owners[_nearest(numbers, frame.number)]].append(frame)


def _nearest(numbers: list[int], number: int) -> int:
    """The one of sorted `numbers` that is nearest to `number`; the earlier one in a tie."""
    after = bisect_left(numbers, number)
    return min(numbers[max(after - 1, 0) : after + 1], key=lambda other: abs(other - number))
