"""PASCAL VOC 2012 (Everingham et al., IJCV 2010), also with SBD's masks (Hariharan et al., ICCV 2011).

    JPEGImages/<id>.jpg
    ImageSets/Segmentation/{train,val,trainval}.txt     the splits, one id a line
    ImageSets/Main/{train,val,trainval,test}.txt        the splits main_train, ...: images without masks
    SegmentationClass/<id>.png                          class ids in a palette, 255 on borders
    SegmentationObject/<id>.png                         numbers of objects, 255 on borders
    SegmentationClassAug/<id>.png                       SBD's masks, for lists such as train_aug.txt
    Annotations/<id>.xml                                the classes of an image, which tags are made from

The root is the folder that holds these, VOCdevkit/VOC2012. An image is a clip of one frame; clip and frame
have its id for a name. So images may differ in size, and none has a neighbour.

A list whose name holds `aug` takes its masks from SegmentationClassAug. Lines may also be pairs of paths, as
`/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png`, of which the name counts. Images without
a mask are listed too: tags may be all that is known of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from weclick.common.errors import InputError, MissingFileError
from weclick.common.findings import Finding
from weclick.common.sections import DataSection
from weclick.datasets.base import Dataset, assign_roles, list_files
from weclick.datasets.file_names import by_stem
from weclick.datasets.lists import listed_name, read_list
from weclick.manifest import Classes, Clip, Frame

OBJECTS = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
NAMES = ("background", *OBJECTS)

IMAGES, MASKS, OBJECT_MASKS = "JPEGImages", "SegmentationClass", "SegmentationObject"
AUGMENTED = "SegmentationClassAug"
MAIN = ("train", "val", "trainval", "test")
"""The lists of ImageSets/Main that name all their images; the others tell where one class occurs."""


def voc_color(class_id: int) -> tuple[int, int, int]:
    """The colour (R, G, B) that VOC's palette gives to a value 0..255: its bits, spread over the channels."""
    red, green, blue = (
        sum((class_id >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)
    )
    return red, green, blue


CLASSES = Classes(
    names=NAMES,
    palette=tuple(map(voc_color, range(len(NAMES)))),
    instance_classes=tuple(range(1, len(NAMES))),
    numbered_objects=True,
)


def open_voc(root: Path, data: DataSection) -> Dataset:
    """PASCAL VOC; its lists are the splits, those of ImageSets/Main with `main_` before their names.

    Raises:
        InputError: the folder is no VOC2012, or has no lists.
    """
    lists = _lists(root)
    listed = partial(_list_clips, root, lists, data.get("train", "train"))
    return Dataset(
        name="voc",
        root=root,
        classes=CLASSES,
        splits=tuple(sorted(lists)),
        list_clips=listed,
        look=partial(_without_mask, listed),
    )


def _lists(root: Path) -> dict[str, Path]:
    """Split -> its list."""
    if not (root / IMAGES).is_dir():
        inner = [path for path in (root / "VOC2012", root / "VOCdevkit/VOC2012") if (path / IMAGES).is_dir()]
        hint = f"set data.root to {inner[0]}" if inner else f"expected {IMAGES}/ and ImageSets/Segmentation/"
        raise InputError(f"{root}: is no VOC2012, since it has no {IMAGES}/; {hint}")
    sets = root / "ImageSets"
    found = {path.stem: path for path in list_files(sets / "Segmentation", (".txt",))}
    named = {f"main_{name}": sets / "Main" / f"{name}.txt" for name in MAIN}
    found |= {split: path for split, path in named.items() if path.is_file()}
    if not found:
        raise InputError(
            f"{sets}: holds no lists, so nothing says which image is in which split; unpack "
            "Segmentation/train.txt and val.txt, or write lists of one id a line"
        )
    return found


def _list_clips(root: Path, lists: Mapping[str, Path], train: str, split: str) -> tuple[Clip, ...]:
    images = by_stem(list_files(root / IMAGES))
    masks, objects = _masks(root, split)
    clips = []
    for name in dict.fromkeys(listed_name(words[0]) for words in read_list(lists[split])):
        if name not in images:
            raise MissingFileError(
                f"{root / IMAGES}: lacks {name}, which {lists[split]} names; restore it or correct the list"
            )
        label = masks.get(name)
        frame = Frame(
            name=name,
            number=0,
            image=images[name].relative_to(root).as_posix(),
            label=label,
            instances=objects.get(name) if label else None,
        )
        clips.append(assign_roles(Clip(name, (frame,)), [0] if label else [], training=split == train))
    return tuple(clips)


def _masks(root: Path, split: str) -> tuple[dict[str, str], dict[str, str]]:
    """Class masks and object masks that a split may use: id -> path from the root."""

    def files(folder: str) -> dict[str, str]:
        found = by_stem(list_files(root / folder, (".png",)))
        return {name: f"{folder}/{path.name}" for name, path in found.items()}

    if split.startswith("main_"):
        return {}, {}
    if "aug" in split:
        return files(AUGMENTED), {}  # VOC numbers objects in its own masks, whose outlines are not SBD's
    return files(MASKS), files(OBJECT_MASKS)


def _without_mask(listed: partial[tuple[Clip, ...]], split: str) -> list[Finding]:
    """A warning if some images of a split have a mask and others have none."""
    clips = listed(split)
    bare = [clip.id for clip in clips if not clip.frames[0].label]
    if not bare or len(bare) == len(clips):
        return []
    found = f"{len(bare)} of {len(clips)} images have none, e.g. {bare[0]}"
    todo = "restore their masks, or take them off the list"
    return [Finding("warning", f"masks of {split}", found, todo)]
