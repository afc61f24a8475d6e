"""The size of frames as they are on disk, before they are shrunk."""

from __future__ import annotations

from pathlib import Path

from weclick.manifest.images import IMAGE_SUFFIXES, image_size
from weclick.manifest.video import video_info


def frame_size(path: Path) -> tuple[int, int]:
    """(H, W) in px of the frames of an image or a video file.

    Raises:
        InputError: the file is neither.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return image_size(path)
    info = video_info(path)
    return info.height_px, info.width_px
