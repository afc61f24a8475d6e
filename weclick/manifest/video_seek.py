"""Frames of a video by their index: the very frames of `decode_video`, without decoding all before them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weclick.common.errors import InputError
from weclick.manifest.upright import check_pixels, upright

# These say what a frame of a video is. One place says it, and an edit there would train networks again.
from weclick.manifest.video import _is_shown, _opened, _packets, _shown, video_info

if TYPE_CHECKING:
    import av


class Dropped(Exception):  # noqa: N818 (nothing is wrong)
    """Nobody waits for the frame any more."""


class VideoFrames:
    """An open video file. One thread reads it at a time.

    A frame is found by its time stamp, and decoding begins at the key frame before it. Where stamps are
    missing or repeat, or their number is not that of the frames, decoding begins at the first frame.

    Args:
        path: of the file.

    Raises:
        InputError: as `video_info`.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        info = video_info(self.path)
        self.count, self._orientation = info.frames, info.orientation
        self._stamps, self._keys = _stamps(self.path, self.count)
        self._open_file = ExitStack()
        self._container: av.container.InputContainer | None = None
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._next = 0

    def read(
        self,
        index: int,
        *,
        keep: Callable[[int], bool] = lambda _: False,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[int, np.ndarray]:
        """A frame, and others that are decoded on the way to it.

        Args:
            index: counted from 0.
            keep: says which of the others to return.
            stop: says that nobody waits any more; it is asked before each frame.

        Returns:
            Index -> (H, W, 3) uint8 BGR, upright.

        Raises:
            Dropped: `stop` said so.
            InputError: there is no such frame, or it cannot be decoded.
        """
        if not 0 <= index < self.count:
            raise InputError(f"{self.path}: has frames 0 to {self.count - 1}, but no frame {index}")
        self._go_to(index)
        kept = {}
        while self._next <= index:
            if stop():
                raise Dropped
            at, frame = self._decode_next()
            if at == index or keep(at):
                kept[at] = self._upright(frame)
        if index not in kept:
            raise InputError(f"{self.path}: frame {index} cannot be decoded; get the whole file")
        return kept

    def close(self) -> None:
        """Close the file; `read` opens it again."""
        self._open_file.close()
        self._container, self._frames = None, iter(())

    def _go_to(self, index: int) -> None:
        """Stand before the frame, or before one from which decoding leads to it."""
        key = bisect_right(self._keys, index) - 1
        begin = self._keys[key] if key >= 0 else 0
        if self._container is not None and begin <= self._next <= index:
            return
        self._open()
        while begin > 0:
            if self._seek(begin) and self._next <= index:
                return
            key -= 1  # FFmpeg seeks by decoding times in some formats, and landed behind
            begin = self._keys[key] if key >= 0 else 0
            self._open()

    def _open(self) -> None:
        self.close()
        container, stream = self._open_file.enter_context(_opened(self.path, None))
        self._container, self._stream, self._next = container, stream, 0
        self._frames = _shown(self.path, container, stream)

    def _seek(self, begin: int) -> bool:
        """Stand before the first frame that decoding gives from a key frame on, if it gives one."""
        assert self._container is not None
        self._container.seek(self._stamps[begin], stream=self._stream)
        frames = _shown(self.path, self._container, self._stream)
        try:
            first = next(frames)
        except InputError:  # it landed where no frame begins
            return False
        self._next, self._frames = self._index(first), _after(first, frames)
        return True

    def _decode_next(self) -> tuple[int, av.VideoFrame]:
        frame = next(self._frames, None)
        if frame is None:
            raise InputError(
                f"{self.path}: ends before frame {self._next}, counted from 0; it changed, or it is damaged: "
                "get the whole file, and start again"
            )
        at = self._index(frame) if self._stamps else self._next
        self._next = at + 1
        return at, frame

    def _index(self, frame: av.VideoFrame) -> int:
        at = bisect_right(self._stamps, frame.pts) - 1 if frame.pts is not None else -1
        if at < 0 or self._stamps[at] != frame.pts:
            raise InputError(f"{self.path}: shows a frame that it did not list; it changed: start again")
        return at

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        check_pixels(frame.height, frame.width)
        return upright(frame.to_ndarray(format="bgr24"), self._orientation)


def _after(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _stamps(path: Path, count: int) -> tuple[list[int], list[int]]:
    """The time stamps of all frames as they are shown, and the positions of key frames; none if unsure."""
    with _opened(path, None) as (container, stream):
        first = next(_shown(path, container, stream)).pts
    with _opened(path, None) as (container, stream):
        found = [(p.pts, p.is_keyframe) for p in _packets(path, container, stream) if _is_shown(p)]
    if first is None or any(pts is None for pts, _ in found):
        return [], []
    shown = sorted((pts, key) for pts, key in found if pts is not None and pts >= first)
    stamps = [pts for pts, _ in shown]
    if len(stamps) != count or len(set(stamps)) != count or stamps[0] != first:
        return [], []
    return stamps, [at for at, (_, key) in enumerate(shown) if key]
