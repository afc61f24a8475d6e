"""What is shown: the clips below a data set's root, by index, as they are on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

from weclick.common.digest import canonical_json
from weclick.datasets.folder import read_classes
from weclick.datasets.folder_clips import list_clips
from weclick.manifest import Classes, Clip
from weclick.manifest.frame_size import frame_size

Place = tuple[int, int]
"""Index of a clip and of a frame in it."""


class Media:
    """The clips and classes of a folder. Nothing needs a label, and nothing is packed.

    Args:
        root: of the data set, as `weclick.datasets.folder` says.
        classes: another classes file than `<root>/classes.yaml`.
        per_clip: how many frames of a clip the queue has.

    Raises:
        InputError: there is no clip, or one of them cannot be read.
        MissingFileError: there is no classes file.
    """

    def __init__(self, root: Path, *, classes: Path | None = None, per_clip: int) -> None:
        self.root = Path(root)
        self.classes: Classes = read_classes(classes or self.root / "classes.yaml")
        self.clips: tuple[Clip, ...] = tuple(sorted(list_clips(self.root), key=lambda clip: clip.id))
        self.queue: tuple[Place, ...] = tuple(_rounds([len(clip.frames) for clip in self.clips], per_clip))
        listed = [[clip.id, [frame.name for frame in clip.frames]] for clip in self.clips]
        told = canonical_json([listed, list(self.classes.names)])
        self.digest = hashlib.sha256(told.encode()).hexdigest()[:16]
        """Of all names. Indexes mean something else once it changes."""
        self._clip_at = {clip.id: i for i, clip in enumerate(self.clips)}
        self._frame_at = [{frame.name: i for i, frame in enumerate(clip.frames)} for clip in self.clips]
        self._size = lru_cache(maxsize=4096)(frame_size)

    def has(self, place: Place) -> bool:
        """Whether there is such a frame."""
        clip, frame = place
        return 0 <= clip < len(self.clips) and 0 <= frame < len(self.clips[clip].frames)

    def place(self, clip: str, frame: str) -> Place | None:
        """The place of a frame by its names, or None."""
        at = self._clip_at.get(clip)
        found = None if at is None else self._frame_at[at].get(frame)
        return None if at is None or found is None else (at, found)

    def names(self, place: Place) -> tuple[str, str]:
        """Names of the clip and the frame."""
        clip = self.clips[place[0]]
        return clip.id, clip.frames[place[1]].name

    def path(self, place: Place) -> Path:
        """The file that holds a frame."""
        return self.root / self.clips[place[0]].frames[place[1]].image

    def video_frame(self, place: Place) -> int | None:
        """Index of a frame in its video file; None for an image file."""
        return self.clips[place[0]].frames[place[1]].video_frame

    def size(self, place: Place) -> tuple[int, int]:
        """(H, W) in px of a frame, upright.

        Raises:
            InputError: its file cannot be read.
        """
        return self._size(self.path(place))


def _rounds(lengths: list[int], per_clip: int) -> Iterator[Place]:
    """Frames of all clips in turn. Whoever stops early has frames that are spread evenly over each clip."""
    orders = [[(clip, frame) for frame in spread(length, per_clip)] for clip, length in enumerate(lengths)]
    for together in zip_longest(*orders):
        yield from (place for place in together if place is not None)


def spread(length: int, count: int) -> list[int]:
    """`count` of `length` frames, evenly spaced, the middle first: each next one halves the widest gap."""
    count = min(length, count)
    even = [(2 * i + 1) * length // (2 * count) for i in range(count)]
    bits = max(count - 1, 1).bit_length()
    turned = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits))  # van der Corput's order
    order = [i for i in turned if i < count]
    middle = min(range(len(order)), key=lambda at: abs(order[at] - count // 2))
    return [even[i] for i in [order[middle], *order[:middle], *order[middle + 1 :]]]
