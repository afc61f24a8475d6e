"""The data of a flow benchmark: frames in order, labels where there are any, and pairs of known flow."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError, MissingFileError
from weclick.common.spread import spread_to_ends
from weclick.datasets.base import list_files
from weclick.flow.formats import read_flow_file
from weclick.manifest.images import IMAGE_SUFFIXES, read_ids, read_image
from weclick.manifest.video import VIDEO_SUFFIXES, decode_video, video_info


class Pair(NamedTuple):
    """Two frames, (1, 3, H, W) uint8 RGB each, and their labels (1, 1, H, W) int32 where there are any."""

    neighbour: Tensor
    target: Tensor
    neighbour_label: Tensor | None = None
    target_label: Tensor | None = None


@dataclass(frozen=True)
class Video:
    """Frames in order of time.

    Attributes:
        source: a folder of images, or a video file.
        names: of the frames; those of a video file are numbers of five digits from 00000 on.
        labels: position of a frame -> its label file.
        classes: K; labels are 0..K-1 or `ignore`. 0 where there are no labels.
        ignore: label of pixels that do not count.
    """

    source: Path
    names: tuple[str, ...]
    labels: Mapping[int, Path] = field(default_factory=dict)
    classes: int = 0
    ignore: int = 255

    def targets(self, gap: int, at_most: int | None = None) -> list[int]:
        """Positions t for which (t - gap, t) is a pair; if there are labels, both frames have one."""
        positions = list(range(gap, len(self.names)))
        if self.labels:
            positions = [t for t in positions if t in self.labels and t - gap in self.labels]
        return positions if at_most is None else spread_to_ends(positions, at_most)

    def pairs(self, gap: int, at_most: int | None = None) -> Iterator[Pair]:
        """The pairs of `targets`; frames are decoded one by one, and gap + 1 of them are held.

        Raises:
            InputError: a frame or label cannot be read, or is of another size than the first frame.
        """
        wanted = set(self.targets(gap, at_most))
        held: deque[Tensor] = deque(maxlen=gap + 1)
        for t, image in enumerate(self._images()):
            held.append(_to_tensor(image))
            _check_size(held[-1], held[0], self._frame(t), self._frame(max(t - gap, 0)))
            if t in wanted:
                yield Pair(held[0], held[-1], *(self._label(i, held[0]) for i in (t - gap, t) if self.labels))

    def _images(self) -> Iterator[np.ndarray]:
        if self.source.is_dir():
            return (read_image(path) for path in _frames(self.source))
        return decode_video(self.source)

    def _label(self, position: int, frame: Tensor) -> Tensor:
        path = self.labels[position]
        label = _read_label(path)
        strange = sorted({*np.unique(label).tolist()} - {*range(self.classes), self.ignore})
        if strange:
            raise InputError(
                f"{path}: holds values {strange[:8]}, expected 0..{self.classes - 1} or {self.ignore} "
                "(ignored); correct --classes or --ignore"
            )
        found = torch.from_numpy(label)[None, None]
        _check_size(found, frame, path, self._frame(position))
        return found

    def _frame(self, position: int) -> str:
        return f"{self.source}, frame {position}"


class Truth(NamedTuple):
    """Two images and the file of the true flow first -> second."""

    first: Path
    second: Path
    flow: Path

    def read(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """First and second image (1, 3, H, W) uint8 RGB, flow (1, 2, H, W) px, known (1, 1, H, W) bool.

        Raises:
            InputError: a file cannot be read, or their sizes differ.
        """
        first, second = (_to_tensor(read_image(path)) for path in (self.first, self.second))
        flow, known = (torch.from_numpy(array)[None] for array in read_flow_file(self.flow))
        for found, path in ((second, self.second), (flow, self.flow)):
            _check_size(found, first, path, self.first)
        return first, second, flow, known[None]


def open_video(
    frames: Path, labels: Path | None = None, *, classes: int | None = None, ignore: int = 255
) -> Video:
    """List frames and labels.

    Args:
        frames: a folder of images, ordered as people count (2 before 10), or a video file.
        labels: a folder of label images by the names of their frames; any subset of the frames.
        classes: K; None reads all labels and takes one more than their largest value below `ignore`.
        ignore: label of pixels that do not count.

    Raises:
        MissingFileError: there is no such folder or file.
        InputError: too few frames, labels without a frame, or labels that are no class ids.
    """
    if frames.is_dir():
        names = tuple(path.stem for path in _frames(frames))
    elif frames.is_file() and frames.suffix.lower() in VIDEO_SUFFIXES:
        names = tuple(f"{i:05d}" for i in range(video_info(frames).frames))
    else:
        raise MissingFileError(
            f"{frames}: is neither a folder of images nor a video ({', '.join(VIDEO_SUFFIXES)}); "
            "correct --frames"
        )
    if len(names) < 2:
        raise InputError(
            f"{frames}: holds {len(names)} frames, expected at least 2 ({', '.join(IMAGE_SUFFIXES)}); "
            "name the folder in which the images themselves lie"
        )
    found = _labels(frames, labels, names) if labels else {}
    if found and classes is None:
        classes = _count_classes(list(found.values()), ignore)
    return Video(frames, names, found, classes or 0, ignore)


def open_truth(firsts: Sequence[str], seconds: Sequence[str], flows: Sequence[str]) -> dict[str, list[Truth]]:
    """Sets of images with their true flow, matched in order.

    Args:
        firsts: for each set a file, a folder, or a pattern such as "chairs/*_img1.png", taken by name.
        seconds: likewise.
        flows: likewise, of .flo files or KITTI PNGs.

    Returns:
        The text that names the flows -> their pairs.

    Raises:
        MissingFileError: a name matches no file.
        InputError: their numbers differ.
    """
    if not len(firsts) == len(seconds) == len(flows):
        raise _unequal(f"--first {len(firsts)} times, --second {len(seconds)}, --truth {len(flows)}")
    sets = {}
    for texts in zip(firsts, seconds, flows, strict=True):
        found = [_expand(*named) for named in zip(("--first", "--second", "--truth"), texts, strict=True)]
        if len({len(paths) for paths in found}) > 1:
            raise _unequal(
                ", ".join(f"{len(paths)} files by {text}" for paths, text in zip(found, texts, strict=True))
            )
        sets[texts[-1]] = [Truth(*paths) for paths in zip(*found, strict=True)]
    return sets


def _unequal(found: str) -> InputError:
    return InputError(
        f"found {found}, but every true flow needs its two images; give the three options together, with "
        'patterns in quotes: --first "chairs/*_img1.png" --second "chairs/*_img2.png" --truth "chairs/*.flo"'
    )


def _frames(folder: Path) -> list[Path]:
    """Images of a folder; numbers in their names count as numbers."""
    return sorted(list_files(folder), key=lambda path: _natural(path.stem))


def _natural(name: str) -> list[str | int]:
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]


def _labels(frames: Path, labels: Path, names: Sequence[str]) -> dict[int, Path]:
    files = list_files(labels, (".png",))
    if not files:
        raise MissingFileError(f"{labels}: holds no label images (.png); correct --labels, or leave it out")
    position = {name: i for i, name in enumerate(names)}
    lost = [path for path in files if path.stem not in position]
    if lost:
        raise InputError(
            f"{lost[0]}: is one of {len(lost)} labels without a frame of that name in {frames}, whose "
            f"frames are {names[0]!r} .. {names[-1]!r}; rename them, or correct --frames"
        )
    return {position[path.stem]: path for path in files}


def _count_classes(labels: Sequence[Path], ignore: int) -> int:
    largest = max(int(label[label < ignore].max(initial=-1)) for label in map(_read_label, labels))
    if largest < 0:
        raise InputError(
            f"{labels[0].parent}: its {len(labels)} labels hold no value from 0 to {ignore - 1}, so nothing "
            "can be scored; correct --ignore, or leave --labels out"
        )
    return largest + 1


def _read_label(path: Path) -> np.ndarray:
    """(H, W) int32."""
    label = read_ids(path)
    if label.ndim != 2:
        raise InputError(
            f"{path}: holds colours, expected class ids in one channel (grey or palette); convert the labels"
        )
    return label.astype(np.int32)


def _expand(option: str, text: str) -> list[Path]:
    """A file as it is, the files of a folder, or those that a pattern matches."""
    path = Path(text).expanduser()
    if path.is_dir():
        found = [file for file in path.iterdir() if file.is_file() and file.name[0] != "."]
    else:
        found = [path] if path.is_file() else list(_match(path))
    if not found:
        raise MissingFileError(f"{option} {text}: there is no such file, folder or match; correct the path")
    return sorted(found, key=lambda file: _natural(file.name))


def _match(pattern: Path) -> Iterator[Path]:
    """Files that a pattern such as chairs/*_img1.png names."""
    anchor = Path(pattern.anchor)
    return (path for path in anchor.glob(str(pattern.relative_to(anchor))) if path.is_file())


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None]


def _check_size(found: Tensor, expected: Tensor, name: object, other: object) -> None:
    if found.shape[2:] != expected.shape[2:]:
        (height, width), (rows, columns) = found.shape[2:], expected.shape[2:]
        raise InputError(
            f"{name}: is {height}x{width} px (HxW), but {other} is {rows}x{columns}; both need one size: "
            "resize one of them, or take it out"
        )
