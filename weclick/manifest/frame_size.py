"""The size of frames as they are on disk, before they are shrunk."""

from __future__ import annotations

from pathlib import Path

from weclick.manifest.clips import Frame
from weclick.manifest.images import image_size
from weclick.manifest.video import video_info


def frame_size(root: Path, frame: Frame) -> tuple[int, int]:
    """(H, W) in pixels, from the header alone.

    Args:
        root: of the data set.
        frame: an image, or a frame of a video.

    Raises:
        InputError: the file is neither.
    """
    path = root / frame.image
    if frame.video_frame is None:
        return image_size(path)
    info = video_info(path)
    return info.height_px, info.width_px
