"""Video files: decoding, length and size, encoding."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weclick.common.disk import check_plain
from weclick.common.errors import InputError
from weclick.common.files import written_whole
from weclick.manifest.upright import LARGEST_PX, TOO_LARGE, check_pixels, upright, upright_size

if TYPE_CHECKING:
    import av

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf", ".flv"),
    *(".f4v", ".ogv", ".ogg", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".mxf", ".dv"),
    *(".mjpg", ".mjpeg", ".gif", ".y4m", ".h264", ".264", ".h265", ".265", ".hevc"),
)
"""Endings of files that are taken for videos, in small letters. Every verb goes by this list."""

_FIRST_PACKETS = 64
"""So many packets show which frames a decoder drops at the start. Reordering reaches at most 16."""


_HEADERS_TELL_LENGTH = ("matroska,webm", "flv", "asf")
"""Formats without a list of frames whose header tells how long they are. Of others FFmpeg guesses it."""

_UNIT = Fraction(1, 90_000)
"""Of the times in videos that are written, in seconds; the usual rates (24, 25, 29.97) are whole in it."""


class VideoInfo(NamedTuple):
    """What a video file shows: number of frames, their upright size, and frames a second.

    `orientation` says how its pixels are turned for that: 1..8 as in EXIF.
    """

    frames: int
    height_px: int
    width_px: int
    rate: Fraction
    orientation: int = 1


def decode_video(path: Path, file: IO[bytes] | None = None) -> Iterator[np.ndarray]:
    """Frames of a video file in presentation order, each (H, W, 3) uint8 RGB, turned as the file says.

    A file that ends within a frame ends with the frame before; a line on stderr tells it.

    Args:
        path: of the file.
        file: its content if it is open already; `path` then only names it.

    Raises:
        InputError: the file cannot be decoded, is damaged in the middle, or its frames are larger than
            LARGEST_PX.
    """
    with _opened(path, file) as (container, stream):
        orientation = 0
        for frame in _shown(path, container, stream):
            orientation = orientation or _orientation(path, frame)
            check_pixels(frame.height, frame.width)
            yield upright(frame.to_ndarray(format="rgb24"), orientation)


def video_info(path: Path) -> VideoInfo:
    """Size and length of a video file as `decode_video` shows it; its first frame is decoded.

    Frames count that are shown: not what an edit list cuts off, not what lies behind the end of the file, and
    not what leans on frames before the first one. A container without a list of its frames is read through.

    Raises:
        InputError: the file holds no video, or `decode_video` would refuse it at once.
    """
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _look(Path(path), (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))


def video_times(path: Path) -> list[Fraction]:
    """When each frame of a video file is shown, in seconds from its start; empty if it does not say.

    Raises:
        InputError: as `video_info`.
    """
    with _opened(path, None) as (container, stream):
        start = Fraction(container.start_time or 0, 1_000_000)
        first = next(_shown(path, container, stream))
    with _opened(path, None) as (container, stream):
        found = [packet.pts for packet in _packets(path, container, stream) if _is_shown(packet)]
    if None in found or first.pts is None or not first.time_base:
        return []
    known = sorted({pts for pts in found if pts is not None and pts >= first.pts} | {first.pts})
    return [max(pts * first.time_base - start, Fraction(0)) for pts in known]


@lru_cache(maxsize=1024)
def _look(path: Path, _: tuple[int, ...]) -> VideoInfo:
    """`video_info` of a file in the state that the second argument marks. A split is listed several times."""
    with _opened(path, None) as (container, stream):
        listed, times = _listed(path, container, stream), list[int | None]()
        frames = _shown(path, container, stream, times)
        first = next(frames)
        orientation = _orientation(path, first)
        height, width = upright_size(first.height, first.width, orientation)
        unknown = None in times and stream.codec_context.has_b_frames
        if unknown:  # nothing tells which packets become frames
            count = 1 + sum(1 for _ in frames)
        else:
            for packet in _packets(path, container, stream):
                if listed is not None and len(times) >= _FIRST_PACKETS:
                    break
                times += [packet.pts] if _is_shown(packet) else []
            lost = sum(pts is not None and first.pts is not None and pts < first.pts for pts in times)
            count = (len(times) if listed is None else listed) - lost
            if listed is None and stream.time_base:
                unit = stream.time_base
                _compare_length(path, container, [pts * unit for pts in times if pts is not None])
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        return VideoInfo(max(count, 1), height, width, rate, orientation)


def _compare_length(path: Path, container: av.container.InputContainer, times: Iterable[Fraction]) -> None:
    """Tell of a file that ends long before its header says. Sound may last a little longer than pictures.

    Args:
        path: of the file.
        container: it, opened.
        times: of all its frames, in seconds.
    """
    known = sorted(times)
    if container.format.name not in _HEADERS_TELL_LENGTH or not container.duration or len(known) < 2:
        return
    told = Fraction(container.duration, 1_000_000)
    shown = known[-1] - Fraction(container.start_time or 0, 1_000_000)
    usual = max(Fraction(1, 2), min(told / 20, Fraction(10)), 2 * max(b - a for a, b in pairwise(known)))
    if told - shown > usual:
        what = f"may be cut short; its header says {float(told):.1f} s, but its last frame comes"
        _tell(path, f"{what} at {float(shown):.1f} s")


def _listed(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> int | None:
    """Number of frames by the container's own list, or None if it has none. A lost end is told."""
    entries = list(stream.index_entries)
    if not stream.frames or len(entries) != stream.frames:
        return None
    shown = [entry for entry in entries if entry.size and not entry.is_discard]
    there = [entry for entry in shown if entry.pos + entry.size <= container.size]
    if len(there) < len(shown):
        _tell(path, f"is cut short; {len(there)} of its {len(shown)} frames are there")
    return len(there)


def _is_shown(packet: av.Packet) -> bool:
    return bool(packet.size) and not packet.is_discard


def _tell(path: Path, what: str) -> None:
    print(f"weclick: warning: {path}: {what}; get the whole file if you miss some", file=sys.stderr)


@contextmanager
def _opened(
    path: Path, file: IO[bytes] | None
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file, and the first of its streams that is a moving picture. Errors of FFmpeg become InputError."""
    import av

    if file is None:
        check_plain(path)
    try:
        with av.open(file or str(path), "r") as container:
            stream = next((s for s in container.streams.video if _moves(s)), None)
            if stream is None:
                kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
                raise InputError(
                    f"{path}: holds no moving picture that can be decoded ({kinds}); re-encode it, e.g. as "
                    "H.264, or remove the file"
                )
            check_pixels(stream.codec_context.height, stream.codec_context.width)
            stream.codec_context.options = {"max_pixels": str(LARGEST_PX)}
            yield container, stream
    except InputError:
        raise
    except Exception as error:  # a damaged file may fail anywhere in the decoder, with any error
        if isinstance(error, MemoryError) and not isinstance(error, av.FFmpegError):
            raise  # FFmpeg's own: a header asked for more than there is
        raise _unreadable(path, error) from error


def _moves(stream: av.VideoStream) -> bool:
    """Whether a stream is a moving picture with a known codec, not the cover of an album."""
    return stream.codec_context is not None and not stream.disposition & stream.disposition.attached_pic


def _unreadable(path: Path, error: Exception) -> InputError:
    why = getattr(error, "strerror", None) or error
    if path.is_file() and not path.stat().st_size:
        return InputError(f"{path}: is an empty file; copy the video again, or remove it")
    return InputError(f"{path}: cannot be opened as a video ({why}); re-encode it, e.g. as H.264")


def _packets(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet]:
    """The packets of a stream, without a last one that the end of the file cuts; a line tells that."""
    held = None
    for packet in container.demux(stream):
        if held is not None and packet.size:
            yield held
        elif held is not None:
            _tell(path, "is cut short; its last frame is not whole and left out")
        held = packet if packet.is_corrupt else None
        if held is None:
            yield packet


def _shown(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    times: list[int | None] | None = None,
) -> Iterator[av.VideoFrame]:
    """Frames as they are shown. `times` gets the time of every packet that should become one.

    What cannot be decoded before the first frame is dropped, as players do: it leans on frames that were cut
    off. After it nothing may be missing but the end.
    """
    import av

    count, broken, patched = 0, None, False
    for packet in _packets(path, container, stream):
        if times is not None and _is_shown(packet):
            times.append(packet.pts)
        try:
            frames = packet.decode()
        except av.InvalidDataError as error:
            broken = (packet.pts, error) if count and broken is None else broken
            continue
        for frame in frames:
            if broken and (frame.pts is None or broken[0] is None or frame.pts > broken[0]):
                raise InputError(
                    f"{path}: is damaged behind frame {count - 1} ({broken[1]}), counted from 0; get the "
                    "whole file, or re-encode what can be read: ffmpeg -i OLD -c:v libx264 -crf 10 NEW.mp4"
                )
            if frame.is_corrupt and not patched:
                _tell(path, f"frame {count}, counted from 0, is damaged; the decoder filled what is missing")
                patched = True
            count += 1
            yield frame
    if not count:
        raise InputError(
            f"{path}: no frame of it can be decoded ({TOO_LARGE}); re-encode it, or remove the file"
        )
    if broken:
        _tell(path, f"is cut short; it ends within frame {count}, counted from 0")


def _orientation(path: Path, frame: av.VideoFrame) -> int:
    """1..8 as in EXIF, from the display matrix of a frame.

    FFmpeg's libavutil/display.h: stored (x, y) is shown at (a x + c y, b x + d y), in 16.16 fixed point.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")  # by name, as all versions of PyAV take it
    if data is None:
        return 1
    a, b, _, c, d = np.frombuffer(bytes(data), "<i4")[:5].tolist()
    straight, crossed = abs(a) + abs(d), abs(b) + abs(c)
    if not straight and not crossed:
        return 1
    if min(straight, crossed) * 50 > max(straight, crossed):  # more than about a degree off
        raise InputError(
            f"{path}: is to be turned by {frame.rotation} degrees, expected a multiple of 90; re-encode it: "
            "ffmpeg -i OLD -c:v libx264 -crf 10 NEW.mp4"
        )
    if straight > crossed:
        return {(False, False): 1, (True, False): 2, (True, True): 3, (False, True): 4}[a < 0, d < 0]
    return {(False, False): 5, (True, False): 6, (True, True): 7, (False, True): 8}[c < 0, b < 0]


@contextmanager
def video_writer(
    path: Path, rate: Fraction, times: Sequence[Fraction] = (), *, comment: str = ""
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write frames (H, W, 3) uint8 RGB as H.264 in MP4; the file appears once it is whole.

    Args:
        path: of the .mp4 file.
        rate: frames a second.
        times: when each frame is shown, in seconds, rising. Frames behind the last time, or all if there are
            none, follow at `rate`.
        comment: put into the file's header.
    """
    import av

    clock = _clock(rate, times)
    with written_whole(path) as file, av.open(file.name, "w", format="mp4") as container:
        container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"
        if times:
            stream.codec_context.time_base = _UNIT

        def write(image: np.ndarray) -> None:
            even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), "edge")
            if not stream.codec_context.is_open:
                stream.height, stream.width = even.shape[:2]
            if (stream.height, stream.width) != even.shape[:2]:
                raise InputError(
                    f"{path}: a frame is {image.shape[0]}x{image.shape[1]} px (HxW), but the video began "
                    f"with {stream.height}x{stream.width}; use masks alone, or re-encode the source"
                )
            frame = av.VideoFrame.from_ndarray(even, format="rgb24")
            if times:
                frame.pts, frame.time_base = next(clock), _UNIT
            container.mux(stream.encode(frame))

        yield write
        container.mux(stream.encode(None))


def _clock(rate: Fraction, times: Sequence[Fraction]) -> Iterator[int]:
    """Rising times in units of _UNIT: the given ones, then further ones at `rate`."""
    last = -1
    for time in times:
        last = max(last + 1, round(time / _UNIT))
        yield last
    step = max(1, round(1 / rate / _UNIT))
    while True:
        last += step
        yield last
