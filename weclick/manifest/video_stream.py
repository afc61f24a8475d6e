"""Video as it comes, each frame with its time: files, cameras, addresses on a network, and standard input."""

from __future__ import annotations

import re
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from os import fstat
from pathlib import Path
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weclick.common.errors import InputError, out_of_memory
from weclick.common.words import masked

# These say what a frame of a video is. One place says it, and an edit there would train networks again.
from weclick.manifest.upright import LARGEST_PX, TOO_LARGE, check_pixels, upright
from weclick.manifest.video import _moves, _opened, _orientation, _shown, video_info

if TYPE_CHECKING:
    import av

STDIN = "-"
"""The address of standard input."""

SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt")
"""Protocols of addresses that are taken for streams. Which of them work is up to PyAV's FFmpeg."""

ON_TIME = ("http", "https", "tcp")
"""Protocols whose sender waits for us, so that no frame need be dropped. A pipe's sender waits, too."""

CAMERA = re.compile(r"camera:(\d{1,3})")

SILENT_S = 15
"""A stream of a network that sends nothing for so long has ended."""

_LOOK_S = 0.2
"""How often somebody who waits for a frame looks whether to stop."""

_USUAL_RATE = Fraction(25)
_MAX_RATE = 1000
"""Frames a second; headers that tell more tell a unit of time instead."""


class TimedFrame(NamedTuple):
    """A frame of a video or stream.

    Attributes:
        number: counted from 0; frames that were dropped count, too.
        time_s: when it is shown, in seconds from the start.
        image: (H, W, 3) uint8 RGB, upright.
    """

    number: int
    time_s: Fraction
    image: np.ndarray


def timed_frames(path: Path) -> Iterator[TimedFrame]:
    """The frames of `decode_video` with the times of `video_times`, in one pass.

    A frame without a time follows the one before at the file's rate.

    Raises:
        InputError: as `decode_video`.
    """
    rate = video_info(path).rate
    with _opened(path, None) as (container, stream):
        start = Fraction(container.start_time or 0, 1_000_000)
        orientation, time_s = 0, -1 / rate
        for number, frame in enumerate(_shown(path, container, stream)):
            orientation = orientation or _orientation(path, frame)
            check_pixels(frame.height, frame.width)
            told = _time(frame)
            time_s = time_s + 1 / rate if told is None else max(told - start, Fraction(0))
            yield TimedFrame(number, time_s, upright(frame.to_ndarray(format="rgb24"), orientation))


def is_stream(address: str) -> bool:
    """Whether this names a stream: `-`, `camera:0`, or an address such as rtsp://host/path."""
    return address == STDIN or bool(CAMERA.fullmatch(address)) or _scheme(address) in SCHEMES


def drops_by_itself(address: str) -> bool:
    """Whether a stream goes on while nobody reads it, so that frames are lost if reading is slow."""
    return address != STDIN and _scheme(address) not in ON_TIME


class VideoStream:
    """The frames of a stream as they come, read by a thread.

    A stream is not as strict as a file: a part that cannot be decoded is left out, and a line on stderr tells
    it once. If the stream breaks off, the frames before have come all the same, and `fault` says what it was.

    Args:
        address: see `is_stream`.
        drop: while nobody takes a frame, keep the newest ones and forget the rest. Else the stream waits.
        waiting: so many decoded frames wait at most.
        stop: ends the frames once it is set.

    Attributes:
        rate: frames a second, as the stream tells; known from the first frame on.
        dropped: frames that nobody took.
        seconds: spent decoding, by the thread and by the taker.
        fault: what ended the stream before its end.
    """

    def __init__(self, address: str, *, drop: bool, waiting: int = 2, stop: Event | None = None) -> None:
        self._address, self._drop, self._room = address, drop, waiting
        self._told = _told(address)
        self._stop = stop or Event()
        self._frames: deque[tuple[int, Fraction, av.VideoFrame]] = deque()
        self._changed, self._ended, self._closed = Condition(), False, False
        self._orientation = 0
        self.rate, self.dropped, self.seconds = _USUAL_RATE, 0, 0.0
        self.fault: InputError | None = None

    def __iter__(self) -> Iterator[TimedFrame]:
        """The frames. Ends with the stream, or when `stop` is set.

        Raises:
            InputError: the stream cannot be opened, or not one frame came.
        """
        if self._address == STDIN:
            _check_stdin()
        thread = Thread(target=self._read, name=f"reads {self._told}", daemon=True)
        thread.start()
        count = 0
        try:
            while (taken := self._take()) is not None:
                yield self._as_array(*taken)
                count += 1
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
            thread.join(_LOOK_S)  # one that waits for a dead camera is left to itself
        if not count and self.fault:
            raise self.fault

    def _as_array(self, number: int, time_s: Fraction, frame: av.VideoFrame) -> TimedFrame:
        began = time.perf_counter()
        self._orientation = self._orientation or _orientation(Path(self._told), frame)
        image = upright(frame.to_ndarray(format="rgb24"), self._orientation)
        self.seconds += time.perf_counter() - began
        return TimedFrame(number, time_s, image)

    def _take(self) -> tuple[int, Fraction, av.VideoFrame] | None:
        """The next frame; None if there is none any more. It looks up now and then, for Ctrl-C."""
        with self._changed:
            while not self._frames and not self._ended and not self._stop.is_set():
                self._changed.wait(_LOOK_S)
            if self._stop.is_set() or not self._frames:
                return None
            taken = self._frames.popleft()
            self._changed.notify_all()
            return taken

    def _put(self, frame: tuple[int, Fraction, av.VideoFrame]) -> bool:
        """Whether somebody may still want the frame."""
        with self._changed:
            if self._drop and len(self._frames) == self._room:
                self._frames.popleft()
                self.dropped += 1
            while len(self._frames) == self._room and not self._closed:
                self._changed.wait()
            self._frames.append(frame)
            self._changed.notify_all()
            return not self._closed

    def _read(self) -> None:
        try:
            with _opened_stream(self._address) as (container, stream):
                self.rate = _rate(stream)
                for number, (time_s, frame) in enumerate(self._decoded(container, stream)):
                    if not self._put((number, time_s, frame)):
                        return
        except InputError as error:
            self.fault = error
        except MemoryError as error:
            self.fault = out_of_memory(error)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _decoded(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        start: Fraction | None = None
        time_s, size = -1 / self.rate, None
        for frame in _whole(self._address, container, stream, self._clock):
            check_pixels(frame.height, frame.width)
            size = size or (frame.height, frame.width)
            if size != (frame.height, frame.width):
                raise InputError(
                    f"{self._told}: its frames change from {size[0]}x{size[1]} px (HxW) to "
                    f"{frame.height}x{frame.width}; start again to predict what follows"
                )
            told = _time(frame)
            start = told if start is None else start
            if told is None or start is None:
                time_s += 1 / self.rate
            else:
                time_s = max(told - start, Fraction(0))
            yield time_s, frame
        if size is None:
            raise InputError(f"{self._told}: no frame of it can be decoded ({TOO_LARGE}); send H.264, say")

    def _clock(self, seconds: float) -> None:
        self.seconds += seconds


def _whole(
    address: str,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    took: Callable[[float], None],
) -> Iterator[av.VideoFrame]:
    """The frames that can be decoded. What comes before the first one is left out in silence."""
    import av

    count, told = 0, False
    for packet in container.demux(stream):
        began = time.perf_counter()
        try:
            frames = packet.decode()
        except av.InvalidDataError as error:
            if count and not told:
                what = f"a part behind frame {count - 1} cannot be decoded ({error}), and is left out"
                print(f"weclick: warning: {_told(address)}: {what}", file=sys.stderr)
                told = True
            continue
        took(time.perf_counter() - began)
        count += len(frames)
        yield from frames


@contextmanager
def _opened_stream(address: str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A stream, and the first moving picture in it. All errors become InputError."""
    import av

    try:
        with _open(address) as container:
            stream = next((each for each in container.streams.video if _moves(each)), None)
            if stream is None:
                raise InputError(f"{_told(address)}: holds no moving picture; give the address of a video")
            check_pixels(stream.codec_context.height, stream.codec_context.width)
            stream.codec_context.options = {"max_pixels": str(LARGEST_PX)}
            yield container, stream
    except InputError:
        raise
    except Exception as error:  # a damaged stream may fail anywhere in the decoder, with any error
        if isinstance(error, MemoryError) and not isinstance(error, av.FFmpegError):
            raise
        raise _fault(address, error) from error


def _open(address: str) -> Any:
    import av

    if address == STDIN:
        return av.open("pipe:0")
    if camera := CAMERA.fullmatch(address):
        return av.open(f"/dev/video{int(camera[1])}", format="v4l2")
    options = {"rtsp_transport": "tcp"} if _scheme(address).startswith("rtsp") else {}
    return av.open(address, options=options, timeout=SILENT_S)


def _fault(address: str, error: Exception) -> InputError:
    import av

    why = masked(str(getattr(error, "strerror", None) or error))
    if address == STDIN:
        return InputError(
            f"{_told(address)}: cannot be read as a video ({why}); a pipe cannot be wound back, so an MP4 "
            "must have its index in front: pipe `ffmpeg -i IN -c copy -f matroska -`, say"
        )
    if camera := CAMERA.fullmatch(address):
        there = ", ".join(sorted(f"camera:{each.name[5:]}" for each in Path("/dev").glob("video*")))
        return InputError(
            f"{address}: /dev/video{int(camera[1])} cannot be opened as a camera ({why}); this machine has "
            f"{there or 'no camera'}: plug it in, close what else uses it, or give another number"
        )
    if isinstance(error, av.error.ExitError):
        why = f"nothing came for {SILENT_S} s"
    return InputError(
        f"{_told(address)}: cannot be read as a stream ({why}); check the address in a player, and that "
        "its sender runs"
    )


def _check_stdin() -> None:
    """Raises InputError if nothing can come from standard input."""
    try:
        kind = fstat(0).st_mode
    except OSError as error:
        raise InputError("standard input: is closed; pipe a video into it, or give a file") from error
    if stat.S_ISCHR(kind):
        raise InputError(
            "standard input: is no pipe; pipe a video into it: ffmpeg -i IN -f matroska - | weclick predict -"
        )


def _told(address: str) -> str:
    """The address for people, without passwords."""
    return "standard input" if address == STDIN else masked(address)


def _scheme(address: str) -> str:
    scheme, found, _ = address.partition("://")
    return scheme.lower() if found else ""


def _rate(stream: av.VideoStream) -> Fraction:
    known = (rate for rate in (stream.average_rate, stream.guessed_rate) if rate and 0 < rate <= _MAX_RATE)
    return Fraction(next(known, _USUAL_RATE))


def _time(frame: av.VideoFrame) -> Fraction | None:
    return frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None
