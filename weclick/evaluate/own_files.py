"""The mark in files that weclick makes of predictions, by which it knows them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from weclick.common.disk import read_plain
from weclick.common.files import written_whole
from weclick.common.strict_json import strict_json
from weclick.manifest.images import IMAGE_SUFFIXES

MADE_BY = "made by weclick predict"
"""The comment in these files."""

JSON_MARK = {"info": {"description": MADE_BY}}
"""How JSON files begin."""


def save_class_map(class_ids: np.ndarray, path: Path, palette: tuple[tuple[int, int, int], ...]) -> None:
    """Write class ids (H, W) uint8 as a PNG whose palette shows the class colours."""
    image, mark = Image.fromarray(class_ids), PngInfo()
    image.putpalette([channel for color in palette for channel in color])
    mark.add_text("Comment", MADE_BY)
    with written_whole(path) as file:
        image.save(file, format="PNG", pnginfo=mark)


def save_overlay(pixels: np.ndarray, path: Path) -> None:
    """Write a frame with something drawn over it, (H, W, 3) uint8 RGB, as PNG or else as JPEG."""
    image, mark = Image.fromarray(pixels), PngInfo()
    mark.add_text("Comment", MADE_BY)
    with written_whole(path) as file:
        if path.suffix == ".png":
            image.save(file, format="PNG", pnginfo=mark)
        else:
            image.save(file, format="JPEG", quality=92, comment=MADE_BY)


def is_own(path: Path) -> bool:
    """Whether weclick made this image or video of predictions. It reads the header alone."""
    return _of_image(path) if path.suffix.lower() in IMAGE_SUFFIXES else _of_video(path)


def is_own_json(path: Path) -> bool:
    """Whether weclick made this JSON file of predictions. It reads the begin alone."""
    mark = strict_json(JSON_MARK)[:-1].encode()
    return read_plain(path, at_most=len(mark)).startswith(mark)


def _of_image(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            told = image.info.get("Comment") or image.info.get("comment")
    except Exception:  # a damaged image may fail anywhere in Pillow; whoever reads it will say so
        return False
    return told in (MADE_BY, MADE_BY.encode())


def _of_video(path: Path) -> bool:
    import av

    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment") == MADE_BY
    except (av.FFmpegError, OSError, ValueError):  # whoever reads it will say so
        return False
