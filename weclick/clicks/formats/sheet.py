"""What the writers of other tools' files get: frames with their clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from weclick.manifest.clips import Classes
from weclick.manifest.people import Origin


class SheetClick(NamedTuple):
    """A click in px of its frame, and where it comes from."""

    y: int
    x: int
    class_name: str
    origin: Origin


@dataclass(frozen=True)
class ClickedFrame:
    """A frame with clicks.

    Attributes:
        clip: id of its clip.
        name: of the frame.
        position: in its clip, from 0; of a video that is the frame's number.
        frames: how many the clip has.
        size: (H, W) px, upright.
        video: name of the video file; empty for a clip of images.
        image: `<clip>/<file>`. Of a video, the file that the frame would have as a PNG.
        clicks: in order of (y, x, class).
    """

    clip: str
    name: str
    position: int
    frames: int
    size: tuple[int, int]
    video: str
    image: str
    clicks: tuple[SheetClick, ...]


@dataclass(frozen=True)
class Sheet:
    """Clicks of a data set: its classes, and the frames with clicks in order of clip and position."""

    classes: Classes
    frames: tuple[ClickedFrame, ...]


def centre(pixel: int) -> float:
    """Where the middle of a pixel lies for tools that count from the corner of the first one, in px."""
    return pixel + 0.5
