"""Video files: decoding, length and size, encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from weclick.common.disk import check_plain
from weclick.common.errors import InputError
from weclick.common.files import written_whole


class VideoInfo(NamedTuple):
    """The header of a video file: number of frames, size, and frames a second."""

    frames: int
    height_px: int
    width_px: int
    rate: Fraction


def decode_video(path: Path) -> Iterator[np.ndarray]:
    """Frames of a video file in presentation order, each (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the file cannot be decoded.
    """
    import av

    check_plain(path)
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError, OSError) as error:
        raise InputError(
            f"{path}: cannot be decoded as a video ({error}); re-encode it, e.g. as H.264"
        ) from error


def video_info(path: Path) -> VideoInfo:
    """Size and length of a video file; counts packets if the header does not tell the number of frames.

    Raises:
        ValueError: the file holds no video.
    """
    import av

    check_plain(path)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
            return VideoInfo(frames, stream.height, stream.width, stream.average_rate or Fraction(25))
    except (av.FFmpegError, IndexError, OSError) as error:
        raise InputError(
            f"{path}: cannot be opened as a video ({error}); re-encode it, e.g. as H.264"
        ) from error


@contextmanager
def video_writer(path: Path, rate: Fraction) -> Iterator[Callable[[np.ndarray], None]]:
    """Write frames (H, W, 3) uint8 RGB as H.264 in MP4; the file appears once it is whole.

    Args:
        path: of the .mp4 file.
        rate: frames a second.
    """
    import av

    with written_whole(path) as file, av.open(file.name, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"

        def write(image: np.ndarray) -> None:
            even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), "edge")
            if not stream.codec_context.is_open:
                stream.height, stream.width = even.shape[:2]
            if (stream.height, stream.width) != even.shape[:2]:
                raise InputError(
                    f"{path}: a frame is {image.shape[0]}x{image.shape[1]} px (HxW), but the video began "
                    f"with {stream.height}x{stream.width}; use masks alone, or re-encode the source"
                )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

        yield write
        container.mux(stream.encode(None))
