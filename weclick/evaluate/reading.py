"""Frames of sources as networks take them, one after the other, and what reading them costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from threading import Event
from typing import NamedTuple, TypeVar

import numpy as np

from weclick.common.errors import InputError, UnreadableError
from weclick.evaluate.sources import Source, Tell, raise_it
from weclick.manifest.images import read_image
from weclick.manifest.video import video_info
from weclick.manifest.video_stream import VideoStream, drops_by_itself, timed_frames

T = TypeVar("T")


class Shown(NamedTuple):
    """A frame without its pixels.

    Attributes:
        name: without ending; of a video its name and the number.
        number: in its video or stream, counted from 0; 0 for an image.
        time_s: when it is shown, from the start of its video; None for an image.
    """

    name: str
    number: int = 0
    time_s: Fraction | None = None


Frames = Iterable[tuple[Shown, np.ndarray]]
"""Frames with their images, (H, W, 3) uint8 RGB."""


class Reader:
    """Reads sources. A file gives all its frames; a stream may drop some, see `VideoStream`.

    Args:
        drop: whether streams drop frames; None leaves it to the kind of stream.
        waiting: frames of a stream that wait at most.
        stop: ends a stream once it is set.
        tell: takes the error of an image, and of a stream that breaks off. The frames go on without it.

    Attributes:
        seconds: spent reading and decoding.
        dropped: frames of streams that nobody took.
        rate: frames a second of the video or stream that is read now.
    """

    def __init__(
        self,
        *,
        drop: bool | None = None,
        waiting: int = 2,
        stop: Event | None = None,
        tell: Tell = raise_it,
    ) -> None:
        self._drop, self._waiting, self._stop, self._tell = drop, waiting, stop, tell
        self.seconds, self.dropped = 0.0, 0
        self.rate: Fraction | None = None

    def frames(self, sources: Iterable[Source]) -> Iterator[tuple[Shown, np.ndarray]]:
        """The frames of some sources, in order.

        Raises:
            InputError, UnreadableError: a video cannot be read, or a stream gives no frame.
        """
        for source in sources:
            if source.address:
                yield from self._of_stream(source)
            elif source.is_video:
                yield from self._of_video(source)
            else:
                yield from self._of_image(source)

    def _of_image(self, source: Source) -> Iterator[tuple[Shown, np.ndarray]]:
        self.rate = None
        try:
            image = self._timed(lambda: read_image(source.path))
        except (InputError, UnreadableError) as error:
            self._tell(error)
        else:
            yield Shown(source.name), image

    def _of_video(self, source: Source) -> Iterator[tuple[Shown, np.ndarray]]:
        self.rate = video_info(source.path).rate
        frames = timed_frames(source.path)
        while (frame := self._timed(lambda: next(frames, None))) is not None:
            yield _named(source, frame.number, frame.time_s), frame.image

    def _of_stream(self, source: Source) -> Iterator[tuple[Shown, np.ndarray]]:
        drop = drops_by_itself(source.address) if self._drop is None else self._drop
        stream = VideoStream(source.address, drop=drop, waiting=self._waiting, stop=self._stop)
        count, seconds, dropped = 0, self.seconds, self.dropped
        for frame in stream:
            self.rate, count = stream.rate, count + 1
            self.seconds, self.dropped = seconds + stream.seconds, dropped + stream.dropped
            yield _named(source, frame.number, frame.time_s), frame.image
        if stream.fault:
            self._tell(InputError(f"{stream.fault}; it broke off behind {count} frames, which are predicted"))

    def _timed(self, act: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return act()
        finally:
            self.seconds += time.perf_counter() - began


def _named(source: Source, number: int, time_s: Fraction) -> Shown:
    return Shown(f"{source.name}/{number:05d}", number, time_s)
