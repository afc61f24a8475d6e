"""Videos as others send them: in formats that can be piped, and over HTTP."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np

FORMATS = {
    "matroska": ("libx264", "yuv420p", {}),
    "mp4": ("libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    "mpegts": ("libx264", "yuv420p", {}),
    "mjpeg": ("mjpeg", "yuvj420p", {}),
    "yuv4mpegpipe": ("rawvideo", "yuv420p", {}),
}
"""Name of FFmpeg's format -> codec, pixels, and options with which a pipe can be read."""


def grey_frames(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Frames that are told apart by their brightness, which no codec changes by much."""
    return [np.full((height, width, 3), 20 + 200 * t // max(count - 1, 1), np.uint8) for t in range(count)]


def noise_frames(count: int, height: int = 64, width: int = 64) -> list[np.ndarray]:
    """Frames that no codec makes small."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def send_video(
    path: Path, images: Sequence[np.ndarray], container: str, *, rate: int = 10, times: Sequence[int] = ()
) -> Path:
    """Write a video in one of FORMATS. `times` are in units of 1/rate."""
    codec, pixels, options = FORMATS[container]
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        for t, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (times[t] if times else t), Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@contextmanager
def stdin_of(path: Path) -> Iterator[None]:
    """This process gets a file through a pipe as its standard input."""
    take, give = os.pipe()
    before = os.dup(0)
    os.dup2(take, 0)
    os.close(take)

    def feed() -> None:
        with os.fdopen(give, "wb") as pipe, path.open("rb") as file:
            try:
                while block := file.read(4096):
                    pipe.write(block)
            except BrokenPipeError:  # the reader has had enough
                pipe.detach()

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        thread.join(5)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The files of a folder over HTTP; yields the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
