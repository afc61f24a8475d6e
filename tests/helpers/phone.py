"""Videos as a phone held upright makes them, and clicks on places of their frames."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np

from helpers.browser import Page

ONE = 65536
MATRICES = {
    2: (-ONE, 0, 0, ONE),
    3: (-ONE, 0, 0, -ONE),
    4: (ONE, 0, 0, -ONE),
    5: (0, ONE, ONE, 0),
    6: (0, ONE, -ONE, 0),
    7: (0, -ONE, -ONE, 0),
    8: (0, -ONE, ONE, 0),
}
"""a, b, c, d: stored (x, y) is shown at (a x + c y, b x + d y). Phones held upright write 6."""

AUDIO_HZ = 48000


def turn(path: Path, matrix: Sequence[int]) -> Path:
    """Write a display matrix into the track header of an MP4 file."""
    content = path.read_bytes()
    plain = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    track = content.index(b"tkhd")
    at = content.index(plain, track)
    a, b, c, d = matrix
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:at] + turned + content[at + len(plain) :])
    return path


def write_phone_video(path: Path, frames: Iterable[np.ndarray], rate: int = 25) -> Path:
    """H.264 and AAC in MP4. The picture lies on its side in the file, and a display matrix turns it.

    Args:
        path: of the file.
        frames: (H, W, 3) uint8 RGB, upright.
        rate: frames a second.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        sound = container.add_stream("aac", rate=AUDIO_HZ, layout="mono")
        video.pix_fmt, video.options = "yuv420p", {"preset": "veryfast", "crf": "18"}
        count = 0
        for upright in frames:
            count += 1
            stored = np.ascontiguousarray(np.rot90(upright))
            if not video.codec_context.is_open:
                video.height, video.width = stored.shape[:2]
            container.mux(video.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(video.encode(None))
        tone = 0.1 * np.sin(np.arange(count * AUDIO_HZ // rate) * 0.05, dtype=np.float32)
        for at in range(0, len(tone) - 1024, 1024):
            piece = av.AudioFrame.from_ndarray(tone[None, at : at + 1024], format="fltp", layout="mono")
            piece.sample_rate, piece.pts = AUDIO_HZ, at
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    return turn(path, MATRICES[6])


def click_on(page: Page, size: tuple[int, int], y: int, x: int) -> None:
    """Press on a pixel of a frame that is shown whole; it hits within a pixel of the screen.

    Args:
        page: shows the frame.
        size: (H, W) px of the frame.
        y: of the pixel.
        x: of the pixel.
    """
    left, top, right, bottom = page.box("#picture")
    height, width = size
    scale = min((right - left - 24) / width, (bottom - top - 24) / height)
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    page.click(middle_x + scale * (x + 0.5 - width / 2), middle_y + scale * (y + 0.5 - height / 2))


def shown_frame(page: Page) -> tuple[int, int]:
    """Indexes of the clip and frame in view."""
    clip, frame = page.wait("document.querySelector('#stage').dataset.shown").split("/")
    return int(clip), int(frame)


def next_frame(page: Page) -> None:
    """Go on to the next frame of the queue, if there is one, and wait until it is in view."""
    before = "/".join(map(str, shown_frame(page)))
    page.press(" ")
    other = f"document.querySelector('#stage').dataset.shown !== '{before}'"
    page.wait(f"{other} || document.querySelector('#toast').textContent.startsWith('Every frame')")
