"""YouTube-VIS (Yang, Fan and Xu, ICCV 2019): objects of 40 categories along videos.

    train/JPEGImages/<video>/00000.jpg               every fifth frame
    train_all_frames/JPEGImages/<video>/00000.jpg    every frame, if its archive is there, too
    train.json                                       videos, their objects, categories

The JSON file may also be called instances.json, and lie in `train/`. A video is a clip with the name of its
folder, and frames count as their files do. Classes are background and the categories in the file's order.

Frames have no label files. What the JSON file lists is their truth, and names of labels are addresses in it,
see `weclick.manifest.addresses`. A listed frame without an object is background alone. Frames that the file
does not list, as most of `train_all_frames`, have no truth and are neighbours.

The official files of validation and test keep the objects back. So the split `train_val` is cut from the
videos of training, as Liu et al. (CVPR 2021) do: `data.val_per_class` videos of each category, drawn with
`data.val_seed`, or those that `data.val_clips` names. The split `train` has the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from weclick.common.errors import InputError
from weclick.common.findings import Finding, many
from weclick.common.json_items import item_spans, parse_item, read_items
from weclick.common.sections import DataSection
from weclick.datasets.base import Dataset, assign_roles, list_files
from weclick.datasets.file_names import CONTROLS, last_number
from weclick.datasets.lists import named_by
from weclick.datasets.voc import voc_color
from weclick.manifest import IGNORE, Classes, Clip, Frame
from weclick.manifest.addresses import Address
from weclick.manifest.clips import BACKGROUND

TRAIN, TRAIN_VAL = "train", "train_val"

FILES = ("train.json", "instances.json", "train/train.json", "train/instances.json")
"""Where the JSON file may lie; the first that is there counts."""

FOLDERS = ("train_all_frames/JPEGImages", "train/JPEGImages", "JPEGImages")
"""Where the folders of videos may lie; the first that has a video counts for it."""


@dataclass(frozen=True)
class _Video:
    """A video of the file.

    Attributes:
        id: in the file.
        name: of its folder.
        listed: stem of a listed frame -> its position in the file.
        categories: of its objects.
    """

    id: int
    name: str
    listed: Mapping[str, int]
    categories: frozenset[str]


@dataclass(frozen=True)
class _YouTubeVis:
    """What the adapter needs to list a split."""

    root: Path
    file: str
    videos: tuple[_Video, ...]
    categories: tuple[str, ...]
    data: DataSection

    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips of a split with their targets or scored frames. Videos without a file are left out."""
        training = split == self.data.get("train", TRAIN)
        every = (self.data.get("target_every") or 1) if training else 1
        clips = (self._clip(video, every, training=training) for video in self._of(split))
        return tuple(clip for clip in clips if clip.frames)

    def look(self, split: str) -> list[Finding]:
        """What was drawn, and what of the file is not on disk."""
        videos, found = self._of(split), []
        if split == TRAIN_VAL:
            found.append(Finding("ok", f"split {split}", self._told(videos)))
        missing = [
            f"{video.name} lacks {len(lacking)} of {len(video.listed)} frames, e.g. {lacking[0]}"
            for video in videos
            if (lacking := sorted(video.listed.keys() - self._files(video).keys()))
        ]
        if missing:
            todo = "unpack the archive of the frames again; what is missing is left out of the run"
            found.append(many("warning", f"frames of {split}", missing, todo))
        bare = [video.name for video in videos if not video.categories]
        if bare:
            told = f"{len(bare)} of {len(videos)} videos have no object in {self.file}, e.g. {bare[0]}"
            found.append(Finding("warning", f"labels of {split}", told, "look whether the file is complete"))
        return found

    @cached_property
    def val(self) -> frozenset[str]:
        """Names of the videos of `train_val`.

        Raises:
            InputError: `data.val_clips` names a video that is none, or all of them.
        """
        patterns = self.data.get("val_clips") or ()
        if not patterns:
            return drawn(self.videos, self.data.get("val_seed", 0), self.data.get("val_per_class", 10))
        found = named_by(patterns, [video.name for video in self.videos])
        if len(found) == len(self.videos):
            raise InputError(
                f"data.val_clips names all {len(found)} videos of {self.root / self.file}, so none is left "
                "to train on; name fewer"
            )
        return frozenset(found)

    def _of(self, split: str) -> list[_Video]:
        return [video for video in self.videos if (video.name in self.val) == (split == TRAIN_VAL)]

    def _told(self, videos: Sequence[_Video]) -> str:
        how = (
            "named by data.val_clips"
            if self.data.get("val_clips")
            else f"{self.data.get('val_per_class', 10)} a category, drawn with data.val_seed "
            f"{self.data.get('val_seed', 0)}"
        )
        names = sorted(video.name for video in videos)
        listed = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
        return (
            f"{len(names)} of {len(self.videos)} videos, {how}: {listed}; the manifest of the split lists all"
        )

    def _files(self, video: _Video) -> dict[str, Path]:
        folders = (list_files(self.root / folder / video.name) for folder in FOLDERS)
        return {path.stem: path for path in next(filter(None, folders), [])}

    def _clip(self, video: _Video, every: int, *, training: bool) -> Clip:
        files = self._files(video)
        frames = sorted(
            (self._frame(video, stem, path) for stem, path in files.items()), key=lambda frame: frame.number
        )
        wanted = {stem for stem, position in video.listed.items() if position % every == 0}
        known = bool(video.categories)
        roles = [t for t, frame in enumerate(frames) if known and frame.name in wanted]
        return assign_roles(Clip(video.name, tuple(frames)), roles, training=training)

    def _frame(self, video: _Video, stem: str, path: Path) -> Frame:
        number = last_number(stem)
        if number is None:
            raise InputError(
                f"{path}: has no number in its name, which tells its time; expected 00000.jpg, 00005.jpg, ..."
            )
        position = video.listed.get(stem) if video.categories else None
        truth = None if position is None else str(Address(self.file, video.id, position))
        return Frame(stem, number, path.relative_to(self.root).as_posix(), label=truth, instances=truth)


def open_youtube_vis(root: Path, data: DataSection) -> Dataset:
    """YouTube-VIS: one clip a video, with the splits `train` and `train_val`.

    Raises:
        InputError: there is no JSON file, it is no YouTube-VIS file, keeps the objects back, has more
            categories than class ids, gives one a name that no terminal shows, has an annotation whose ids
            are no whole numbers, or names frames outside of a folder of their own.
    """
    from weclick.manifest.video_truth import open_video_file  # here, since it loads pycocotools

    file = next((name for name in FILES if (root / name).is_file()), None)
    if file is None:
        raise InputError(
            f"{root}: is no YouTube-VIS, since it has no train.json; expected it beside "
            "train/JPEGImages/<video>/00000.jpg: unpack the annotations of training there"
        )
    try:
        listed = open_video_file(root / file)
    except TypeError:  # an id that is a list, say, cannot be looked up
        _check_ids(root / file)
        raise
    if not any(video.categories for video in listed.videos.values()):
        raise InputError(
            f"{root / file}: lists no objects, as the official files of validation and test, which keep them "
            "back; take the file of training"
        )
    names = (BACKGROUND, *listed.categories)
    if len(names) >= IGNORE or len(set(names)) < len(names):
        raise InputError(
            f"{root / file}: has {len(names) - 1} categories, expected at most {IGNORE - 2}, each of its own "
            f"name and none called {BACKGROUND!r}; correct the file"
        )
    if strange := [name for name in names if CONTROLS.search(name)]:
        raise InputError(
            f"{root / file}: the name {strange[0]!r} of a category holds control characters; correct the file"
        )
    videos = tuple(
        _video(root / file, video_id, video.file_names, video.categories)
        for video_id, video in listed.videos.items()
    )
    _check_names(root / file, videos)
    vis = _YouTubeVis(root, file, videos, listed.categories, data)
    return Dataset(
        name="youtube_vis",
        root=root,
        classes=Classes(
            names=names,
            palette=tuple(map(voc_color, range(len(names)))),
            instance_classes=tuple(range(1, len(names))),
        ),
        splits=(TRAIN, TRAIN_VAL),
        list_clips=vis.clips,
        look=vis.look,
    )


def drawn(videos: Iterable[_Video], seed: int, per_class: int) -> frozenset[str]:
    """Names of some videos of each category, but of no category more than half.

    A video's rank in a category is a digest of seed, category and name. So the draw is the same on every
    machine, whatever of the frames is there, and a video more in the file moves at most one other out.

    Args:
        videos: all of them. A video with objects of two categories may be drawn for either.
        seed: of the draw.
        per_class: videos of a category.
    """
    of_category: dict[str, list[str]] = {}
    for video in videos:
        for category in video.categories:
            of_category.setdefault(category, []).append(video.name)

    def rank(category: str, name: str) -> bytes:
        return hashlib.sha256(f"{seed}\n{category}\n{name}".encode()).digest()

    chosen: set[str] = set()
    for category, names in of_category.items():
        ranked = sorted(names, key=partial(rank, category))
        chosen.update(ranked[: min(per_class, len(names) // 2)])
    return frozenset(chosen)


def _video(path: Path, video_id: int, file_names: Sequence[str], categories: frozenset[str]) -> _Video:
    """A video of the file, once its names are those of files in one folder."""
    paths = [PurePosixPath(name) for name in file_names]
    folders = {each.parent.name for each in paths}
    strange = next((each for each in paths if len(each.parts) != 2 or ".." in each.parts), None)
    if strange or len(folders) != 1 or len({each.stem for each in paths}) < len(paths):
        told = f"e.g. {str(strange)[:120]!r}" if strange else f"{len(paths)} frames in {len(folders)} folders"
        raise InputError(
            f"{path}: the frames of video {video_id} are not files of one folder, each of its own name "
            f"({told}); expected <video>/00000.jpg, <video>/00005.jpg, ..."
        )
    return _Video(video_id, folders.pop(), {each.stem: t for t, each in enumerate(paths)}, categories)


def _check_names(path: Path, videos: Sequence[_Video]) -> None:
    seen: dict[str, int] = {}
    for video in videos:
        other = seen.setdefault(video.name, video.id)
        if other != video.id:
            raise InputError(
                f"{path}: the videos {other} and {video.id} have one folder, {video.name!r}; expected each "
                "to have its own"
            )


def _check_ids(path: Path) -> None:
    """Raises InputError if an annotation names its video or its category by something else than a number."""
    for number, span in enumerate(item_spans(path, ("annotations",)).get("annotations", ())):
        (item,) = read_items(path, [span])
        annotation = parse_item(path, item)
        for key in ("video_id", "category_id"):
            if type(found := annotation.get(key)) is not int:
                raise InputError(
                    f"{path}, annotation {number}: {key} is {found!r:.60}, expected a whole number, the id "
                    "of what the file lists; correct it, or take the annotation out"
                )
