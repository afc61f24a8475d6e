"""DAVIS 2016 (Perazzi et al., CVPR 2016) and 2017 (Pont-Tuset et al., arXiv:1704.00675).

    JPEGImages/480p/<clip>/00000.jpg
    Annotations/480p/<clip>/00000.png       2016: 0 and 255; 2017: numbers of objects in a palette
    ImageSets/{2017,2016,480p}/train.txt    the splits: clips, or pairs of an image and its mask

The lists of 2017, else of 2016, else of 480p (the package of 2016) give the splits `train`, `val` and others
by their own names. If there are several, those of the others are `2016_train` and so on. Where 480p is
missing, 1080p or Full-Resolution is read.

Every object is of the class `object`. A file that `data.classes` names, as that of a folder, may tell more:

    classes:
      - {name: background, color: [0, 0, 0]}
      - {name: bear, color: [64, 0, 128]}
      - {name: car, color: [0, 128, 0]}
    clips: {bear: bear, car-roundabout: car}    # the class of the objects in each clip

In training every `data.target_every`-th frame of a clip is a target, if it has a mask. Lists of 2017 tell
objects apart, each of which gets its own click.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from weclick.common.errors import InputError, MissingFileError
from weclick.common.sections import DataSection
from weclick.common.yaml_files import read_yaml
from weclick.datasets.base import Dataset, assign_roles, list_files, list_folders
from weclick.datasets.file_names import by_stem, in_order
from weclick.datasets.folder import read_classes
from weclick.datasets.lists import read_list
from weclick.manifest import Classes, Clip, Frame
from weclick.manifest.names import nearest

YEARS = ("2017", "2016", "480p")
"""Folders of lists, the first of which gives the splits their names."""

RESOLUTIONS = ("480p", "1080p", "Full-Resolution")
WITHOUT_NUMBERS = ("2016", "480p", "1080p")
"""Folders of lists whose masks are read as black and white, without numbers of objects."""

IMAGES, MASKS = "JPEGImages", "Annotations"
CLASSES = Classes(
    names=("background", "object"),
    palette=((0, 0, 0), (128, 0, 0)),
    instance_classes=(1,),
    label_map={"masks": {MASKS: 1}},
    numbered_objects=True,
)


@dataclass(frozen=True)
class _Davis:
    """What the adapter needs to list a split."""

    root: Path
    resolution: str
    lists: Mapping[str, Path]
    train: str
    target_every: int
    classes: Classes
    classes_file: str

    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips of a split with their targets or scored frames."""
        path, training = self.lists[split], split == self.train
        names = _clip_names(path, self.root)
        masks = (self.classes.label_map or {})["masks"]
        unknown = [name for name in names if name not in masks and MASKS not in masks]
        if unknown:
            raise InputError(
                f"{self.classes_file}: does not say of which class the objects of {', '.join(unknown[:10])} "
                f"are, {len(unknown)} of the {len(names)} clips of {path}; add them under `clips`"
            )
        every = self.target_every if training else 1
        return tuple(self._clip(name, path, every, training=training) for name in names)

    def _clip(self, name: str, listed: Path, every: int, *, training: bool) -> Clip:
        folder = self.root / IMAGES / self.resolution / name
        images = by_stem(list_files(folder))
        if not images:
            raise MissingFileError(
                f"{folder}: holds no images, but {listed} names the clip; restore them or correct the list"
            )
        masks_at = self.root / MASKS / self.resolution / name
        masks = by_stem(list_files(masks_at, (".png",)))
        strays = sorted(masks.keys() - images.keys())
        if strays:
            raise InputError(
                f"{masks_at}: {len(strays)} masks have no frame in {folder}, e.g. {strays[0]}; restore the "
                "frames or remove the masks"
            )
        numbered = listed.parent.name not in WITHOUT_NUMBERS
        frames = tuple(
            self._frame(number, images[stem], masks.get(stem), numbered=numbered)
            for number, stem in in_order(list(images))
        )
        labelled = [t for t, frame in enumerate(frames) if frame.label and t % every == 0]
        return assign_roles(Clip(name, frames), labelled, training=training)

    def _frame(self, number: int, image: Path, mask: Path | None, *, numbered: bool) -> Frame:
        label = mask.relative_to(self.root).as_posix() if mask else None
        named = image.relative_to(self.root).as_posix()
        return Frame(image.stem, number, named, label=label, instances=label if numbered else None)


def open_davis(root: Path, data: DataSection) -> Dataset:
    """DAVIS: the clips of its lists, in the best known resolution that is there.

    Raises:
        InputError: the folder is no DAVIS, has no lists, or the classes file is malformed.
        MissingFileError: the classes file is missing.
    """
    resolution = next((name for name in RESOLUTIONS if (root / IMAGES / name).is_dir()), None)
    if resolution is None:
        raise InputError(
            f"{root}: is no DAVIS; expected {IMAGES}/480p/<clip>/, {MASKS}/480p/<clip>/ and ImageSets/"
        )
    told = data.get("classes")
    davis = _Davis(
        root=root,
        resolution=resolution,
        lists=_lists(root),
        train=data.get("train", "train"),
        target_every=data.get("target_every") or 1,
        classes=_classes_of_clips(Path(told)) if told else CLASSES,
        classes_file=told or "",
    )
    return Dataset("davis", root, davis.classes, tuple(sorted(davis.lists)), davis.clips)


def _lists(root: Path) -> dict[str, Path]:
    """Split -> its list; lists of another year than the first have it before their names."""
    known = {folder.name: folder for folder in list_folders(root / "ImageSets")}
    years = sorted(known, key=lambda name: (YEARS.index(name) if name in YEARS else len(YEARS), name))
    found: dict[str, Path] = {}
    for year in years:
        plain = not found
        for path in list_files(known[year], (".txt",)):
            found[path.stem if plain else f"{year}_{path.stem}"] = path
    if not found:
        raise InputError(
            f"{root / 'ImageSets'}: holds no lists, so nothing says which clip is in which split; restore "
            "2017/train.txt and val.txt (of 2016: 480p/), or write lists of one clip a line"
        )
    return found


def _clip_names(path: Path, root: Path) -> list[str]:
    """The clips that a list names, each once: by themselves, or by their images.

    Raises:
        MissingFileError: an image that the list names is missing.
    """
    names: dict[str, None] = {}
    for words in read_list(path):
        image = words[0].lstrip("/")
        if "/" in image and not (root / image).is_file():
            raise MissingFileError(
                f"{root / image}: there is no such file, but {path} names it; restore it or correct the list"
            )
        names[Path(image).parent.name if "/" in image else image] = None
    return list(names)


def _classes_of_clips(path: Path) -> Classes:
    """Classes of a file, and the class of each clip's objects.

    Raises:
        MissingFileError, InputError: as in `read_classes`, or the classes of clips are malformed.
    """
    classes = read_classes(path)
    raw = read_yaml(path)
    clips = raw.get("clips")
    if clips is None and len(classes.names) == 2:
        masks = {MASKS: 1}
    elif isinstance(clips, dict) and clips:
        masks = {str(clip): _class_id(path, str(clip), str(name), classes) for clip, name in clips.items()}
    else:
        raise InputError(
            f"{path}: names {len(classes.names)} classes, but not the class of each clip's objects; add it "
            "as in `clips: {bear: animal, car-roundabout: car}`"
        )
    objects = tuple(sorted(set(masks.values())))
    return replace(classes, instance_classes=objects, label_map={"masks": masks}, numbered_objects=True)


def _class_id(path: Path, clip: str, name: str, classes: Classes) -> int:
    if name not in classes.names[1:]:
        raise InputError(
            f"{path}: clip {clip!r} is of class {name!r}, expected one of the classes after the first, which "
            f"is background: {_among(classes.names[1:])}{nearest(name, classes.names[1:])}"
        )
    return classes.names.index(name)


def _among(names: Iterable[str]) -> str:
    return ", ".join(names) or "there is none"
