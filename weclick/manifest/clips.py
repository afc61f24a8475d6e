"""The clips on disk, with their frames, targets and content digests.

Every split and shard has one manifest. Later stages know nothing else of a data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

IGNORE = 255

BACKGROUND = "background"
"""Name of a first class that shows none of the others."""


@dataclass(frozen=True)
class Frame:
    """One image of a clip. Paths are relative to the data set's root, digests are SHA-256 of content.

    `number` counts frames of the source video: differences of numbers are gaps in time.
    If `image` is a video file, `video_frame` is the frame to decode from it, counted from 0.
    `digest` also tells what is read of the content, see `frame_digest`. So keys depend on that, too.
    """

    name: str
    number: int
    image: str
    digest: str = ""
    video_frame: int | None = None
    label: str | None = None
    label_digest: str | None = None
    instances: str | None = None
    instances_digest: str | None = None

    @property
    def image_sha256(self) -> str:
        """SHA-256 (hex) of the file `image`: `digest` without what it says of the frame in the file."""
        return self.digest[:64]

    @property
    def orientation(self) -> int:
        """How the stored pixels were to be turned when the manifest was made: 1..8 as in EXIF."""
        return int(self.digest.partition("@")[2] or 1)


@dataclass(frozen=True)
class Clip:
    """An unbroken stretch of video. `targets` and `scored` are positions in `frames`.

    Targets carry clicks in training; scored frames are compared with their labels in evaluation.
    """

    id: str
    frames: tuple[Frame, ...]
    targets: tuple[int, ...] = ()
    scored: tuple[int, ...] = ()
    height_px: int = 0
    width_px: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.height_px, self.width_px

    def positions(self) -> dict[str, int]:
        """Name or number by which people call a frame -> its position in `frames`; names win over numbers."""
        by_number = {str(frame.number): i for i, frame in enumerate(self.frames)}
        return by_number | {frame.name: i for i, frame in enumerate(self.frames)}

    def restrict(self, keep: Iterable[int]) -> Clip:
        """The same clip with only the frames at the positions `keep`, targets and scored renumbered."""
        kept = sorted(set(keep))
        position = {old: new for new, old in enumerate(kept)}
        return replace(
            self,
            frames=tuple(self.frames[i] for i in kept),
            targets=tuple(position[i] for i in self.targets if i in position),
            scored=tuple(position[i] for i in self.scored if i in position),
        )


@dataclass(frozen=True)
class Classes:
    """The label space of a data set.

    Attributes:
        names: class names; the position is the class id in every array that weclick makes.
        palette: one (R, G, B) per class, 0..255.
        instance_classes: ids of the classes whose objects the instance masks tell apart.
        label_map: how label files encode classes. None: pixel values are class ids. Else either
            {"ids": {"7": 0, ...}} for grey or palette values, or {"colors": {"128,64,128": 0, ...}}
            for RGB files. Values not listed are ignored. Or {"masks": {"dog": 5, ...}}: a file is the mask
            of objects, whose class is that of the first folder on its path that is listed.
        numbered_objects: instance files number the objects of an image from 1 on, and 255 is none of them
            (PASCAL VOC, DAVIS). Else they hold class id * 1000 + number, as those of Cityscapes.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    instance_classes: tuple[int, ...] = ()
    label_map: dict[str, dict[str, int]] | None = None
    numbered_objects: bool = False

    @property
    def has_background(self) -> bool:
        """Whether class 0 shows none of the others, see `has_background`."""
        return has_background(self.names)


def has_background(names: Sequence[str]) -> bool:
    """Whether class 0 shows none of the others: if it is called so. Else it is a class like any other.

    Args:
        names: of the classes of a data set, in the order of their ids.
    """
    return bool(names) and names[0] == BACKGROUND


@dataclass(frozen=True)
class Manifest:
    """One shard of one split of a data set.

    With `shrink` s, frames and labels are read at 1/s of their size; clips' sizes and frames' digests say so.
    `click_file` is a table or log of clicks that people made. `click_file_digest` is its SHA-256; of a log,
    which may grow, `<SHA-256>:<bytes>` of what counts.
    """

    dataset: str
    root: str
    split: str
    shard: int
    shards: int
    classes: Classes
    clips: tuple[Clip, ...]
    click_file: str | None = None
    click_file_digest: str | None = None
    shrink: int = 1

    @property
    def num_classes(self) -> int:
        """K, without the ignored value 255."""
        return len(self.classes.names)

    def path(self, relative: str) -> Path:
        """The path on this machine of a file that the manifest names."""
        return Path(self.root) / relative


def frame_digest(content: str, *, video_frame: int | None, shrink: int, orientation: int) -> str:
    """What a frame is made of, as text: `<SHA-256>[:<frame of the video>][/<shrink>][@<orientation>]`.

    Parts that say nothing (no video, shrink 1, orientation 1) are left out: most frames are their file.

    Args:
        content: SHA-256 (hex) of the file.
        video_frame: counted from 0 in a video file; None for an image file.
        shrink: frames are read at 1/shrink of their size.
        orientation: 1..8 as in EXIF.
    """
    digest = content if video_frame is None else f"{content}:{video_frame}"
    digest = digest if shrink == 1 else f"{digest}/{shrink}"
    return digest if orientation == 1 else f"{digest}@{orientation}"


def shard_of(clip_id: str, shards: int) -> int:
    """The shard of a clip, by a stable hash of its id: a new clip moves no other."""
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big") % shards
