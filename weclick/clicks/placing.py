"""Finds the frames of the data set that annotation files name in their many ways."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from weclick.clicks.formats.cvat import VIDEO_FRAME
from weclick.clicks.formats.marks import Place
from weclick.clicks.labels import MOST_HINTS
from weclick.manifest.clips import Clip
from weclick.manifest.frame_size import frame_size
from weclick.manifest.images import IMAGE_SUFFIXES
from weclick.manifest.names import ClipNames, nearest, plain
from weclick.manifest.video import VIDEO_SUFFIXES, video_info, video_times

NameMap = Mapping[str, tuple[str, str]]
"""Name of an image in a file -> clip and frame. Of a video: clip and an empty text."""

SLACK_S = Fraction(1, 2000)
"""Tools write times with three decimals, so a frame may begin half a millisecond after what they tell."""

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""


class Spot(NamedTuple):
    """A frame of the data set: its clip, position in it, and (H, W) px of it, upright."""

    clip: Clip
    position: int
    size: tuple[int, int]

    @property
    def key(self) -> tuple[str, str]:
        """(clip id, frame name)."""
        return self.clip.id, self.clip.frames[self.position].name


class NoSpot(NamedTuple):
    """No frame is found: a reason of `marks.ERRORS`, and what was looked for."""

    reason: str
    told: str


class _NoSpotError(Exception):
    """Ends a search with what is said of it."""


class Spots:
    """The frames of a data set, found by what files say of them."""

    def __init__(
        self, clips: Sequence[Clip], root: Path, *, clip: str = "", names: NameMap | None = None
    ) -> None:
        """Index the clips.

        Args:
            clips: all of the data set.
            root: their paths are relative to it.
            clip: the one clip that all files are of; empty: they tell it.
            names: what a person says that names mean; these win over all else.
        """
        self._clips, self._root, self._one = sorted(clips, key=lambda each: each.id), root, clip
        self._names = ClipNames(clips)
        self._told = {plain(name): target for name, target in (names or {}).items()}
        self._by_stem: dict[str, list[tuple[Clip, int]]] = {}
        for each in clips:
            for position, frame in enumerate(each.frames if each.frames[0].video_frame is None else ()):
                self._by_stem.setdefault(plain(frame.name), []).append((each, position))
        self._found: dict[Place, Spot | NoSpot] = {}
        self._hints = MOST_HINTS

    def find(self, place: Place) -> Spot | NoSpot:
        """The frame of a place, or why there is none or not one alone."""
        if place not in self._found:
            try:
                self._found[place] = self._find(place)
            except _NoSpotError as error:
                self._found[place] = NoSpot(*error.args)
        return self._found[place]

    def _find(self, place: Place) -> Spot:
        if place.image:
            clip, position = self._of_image(place)
        else:
            clip = self._clip(place)
            position = self._in_video(clip, place)
        return Spot(clip, position, self._size(clip, position))

    def _size(self, clip: Clip, position: int) -> tuple[int, int]:
        return _frame_size(self._root / clip.frames[position].image)

    def _clip(self, place: Place) -> Clip:
        """The clip of a place that names no image."""
        known = self._given(place.clips)
        if known is None and not place.clips and len(self._clips) == 1:
            known = self._clips[0]
        if known is None:
            raise self._no_clip(place)
        return known

    def _given(self, names: Sequence[str]) -> Clip | None:
        """The clip that a person or a file names."""
        if self._one:
            return self._required(self._one)
        for name in names:
            for spelled in _video_spellings(name):
                target = self._told.get(plain(spelled))
                found = self._required(target[0]) if target else self._names.clip(spelled)
                if found:
                    return found
        return None

    def _required(self, name: str) -> Clip:
        found = self._names.clip(name)
        if found is None:
            raise _NoSpotError("unknown_clip", f"there is no clip {name!r}{self._known_clips(name)}")
        return found

    def _no_clip(self, place: Place) -> _NoSpotError:
        if not place.clips:
            told = f"the file names no clip{self._known_clips('')}; name one by --clip"
        else:
            named = place.clips[0]
            told = f"there is no clip {named!r}{self._known_clips(named)}; name it by --clip or --name-map"
        return _NoSpotError("unknown_clip", told)

    def _known_clips(self, name: str) -> str:
        ids = [clip.id for clip in self._clips]
        more = f" and {len(ids) - 10} more" if len(ids) > 10 else ""
        return f" (there are {', '.join(ids[:10])}{more}){self._nearest(name, ids)}"

    def _nearest(self, name: str, names: Iterable[str]) -> str:
        self._hints -= 1
        return nearest(name, names) if name and self._hints >= 0 else ""

    def _in_video(self, clip: Clip, place: Place) -> int:
        if place.named:
            found = self._names.find(clip.id, place.named)
            if found is None:
                raise _no_frame(clip, repr(place.named))
            return found[1]
        if place.time_s is not None:
            return self._at_time(clip, place.time_s)
        return _numbered(clip, place.number or 0)

    def _at_time(self, clip: Clip, time_s: float) -> int:
        """The frame that a player shows at a time: the last one that has begun."""
        if clip.frames[0].video_frame is None:
            raise _NoSpotError(
                "unknown_frame",
                f"clip {clip.id!r} consists of images, so the frame at {time_s} s is not known; put the "
                "video into videos/, or click on its images",
            )
        times = _frame_times(self._root / clip.frames[0].image)
        if not 0 <= time_s <= 1e6 or not times:
            raise _no_frame(clip, f"at {time_s} s")
        last = times[-1] + (times[-1] - times[0]) / max(len(times) - 1, 1)
        position = bisect_right(times, Fraction(time_s) + SLACK_S) - 1
        if position < 0 or position >= len(clip.frames) or Fraction(time_s) > last + SLACK_S:
            raise _no_frame(clip, f"at {time_s} s")
        return position

    def _of_image(self, place: Place) -> tuple[Clip, int]:
        path = PurePosixPath(_decoded(place.image))
        names = tuple(dict.fromkeys((*_spellings(path.name), *_spellings(path.stem))))
        for spelled in (place.image, str(path), *names):
            if target := self._told.get(plain(spelled)):
                return self._exactly(*target)
        clip = self._given(()) or self._of_folder(path) or self._given(place.clips)
        if clip is None and len(self._clips) == 1:
            clip = self._clips[0]
        if clip is not None:
            return clip, self._inside(clip, path, names)
        for name in names:
            found = self._by_stem.get(plain(name), [])
            if len(found) > 1:
                among = ", ".join(sorted(each.id for each, _ in found)[:10])
                raise _NoSpotError(
                    "ambiguous_frame",
                    f"image {place.image!r} may be a frame of the clips {among}; name one by --clip, or say "
                    "which it is by --name-map",
                )
            if found:
                return found[0]
        raise _NoSpotError(
            "unknown_frame",
            f"no frame is called {path.name!r}{self._nearest(path.stem, self._by_stem)}; name its clip by "
            "--clip, or say which frame it is by --name-map",
        )

    def _exactly(self, clip: str, frame: str) -> tuple[Clip, int]:
        known = self._required(clip)
        found = self._names.find(known.id, frame)
        if found is None:
            raise _no_frame(known, repr(frame))
        return found

    def _of_folder(self, path: PurePosixPath) -> Clip | None:
        """The clip that a folder of the path names, or two that follow each other; the innermost first."""
        parts = path.parts[:-1]
        for i in reversed(range(len(parts))):
            named = "/".join(parts[max(i - 1, 0) : i + 1]), parts[i]
            if found := next(filter(None, map(self._names.clip, named)), None):
                return found
        return None

    def _inside(self, clip: Clip, path: PurePosixPath, names: Iterable[str]) -> int:
        for name in names:
            if found := self._names.find(clip.id, name):
                return found[1]
        counted = VIDEO_FRAME.fullmatch(path.stem)
        if counted and clip.frames[0].video_frame is not None:
            return _numbered(clip, int(counted[1]))
        raise _no_frame(clip, repr(path.name))


def _spellings(name: str) -> Iterator[str]:
    """A name, its last part, and that without what an upload puts before it."""
    last = PurePosixPath(_decoded(name)).name or name
    yield from dict.fromkeys((name, last, _UPLOAD.sub("", last, count=1) if _UPLOAD.match(last) else last))


def _video_spellings(name: str) -> Iterator[str]:
    """As `_spellings`, and without the ending: tools may have got the video in another container."""
    for spelled in _spellings(name):
        path = PurePosixPath(spelled)
        yield from (spelled, path.stem) if path.suffix.lower() in VIDEO_SUFFIXES else (spelled,)


def _decoded(name: str) -> str:
    """A path or address as the path of a file: s3://b/a%20b.png?token=... -> s3:/b/a b.png."""
    if "\\" in name:  # as Windows writes paths
        return name.replace("\\", "/")
    path, _, query = name.partition("?")
    local = parse_qs(query).get("d")  # Label Studio's files on its own disk
    if local:
        return local[0]
    is_address = "://" in path or path.startswith("/data/")
    if query and (is_address or path.lower().endswith(IMAGE_SUFFIXES)):
        name = path
    return unquote(name) if is_address else name


def _numbered(clip: Clip, number: int) -> int:
    """The position of a frame by its number in the video."""
    if clip.frames[0].video_frame is None and any(
        frame.number != position for position, frame in enumerate(clip.frames)
    ):
        raise _NoSpotError(
            "unknown_frame",
            f"clip {clip.id!r} consists of images whose names do not count 0, 1, 2, so frame {number} may be "
            "the image of that number or at that place; export the images by name (`CVAT for images 1.1`)",
        )
    if not 0 <= number < len(clip.frames):
        raise _no_frame(clip, str(number))
    return number


def _no_frame(clip: Clip, told: str) -> _NoSpotError:
    first, last = clip.frames[0].name, clip.frames[-1].name
    return _NoSpotError(
        "unknown_frame",
        f"clip {clip.id!r} has no frame {told}; it has {len(clip.frames)} frames, {first!r} to {last!r}",
    )


@lru_cache(maxsize=2**14)
def _frame_size(path: Path) -> tuple[int, int]:
    return frame_size(path)


@lru_cache(maxsize=16)
def _frame_times(path: Path) -> list[Fraction]:
    """When each frame of a video begins; by its rate where the file does not say."""
    info = video_info(path)
    return video_times(path) or [Fraction(i) / info.rate for i in range(info.frames)]
