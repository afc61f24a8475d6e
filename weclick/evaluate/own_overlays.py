"""What predictions of all kinds share: where they go, what they tell, and frames with something drawn on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weclick.common.errors import InputError
from weclick.common.files import file_inside
from weclick.common.short_names import short_path
from weclick.evaluate.own_files import MADE_BY, is_own, save_overlay
from weclick.evaluate.sources import Source
from weclick.manifest import Classes
from weclick.manifest.video import video_info, video_times, video_writer

MASKS, OVERLAY = "masks", "overlay"
"""Folders that predict writes into."""


@dataclass(frozen=True)
class Predicted:
    """The outcome of a prediction.

    Attributes:
        frames: how many.
        seconds: from the first frame read to the last file written.
        network_seconds: the part of these spent in the network.
        share: (K,) part of all pixels that each class got.
        classes: of the checkpoint.
        instances: (K,) how many objects of each class were shown; None unless the network finds some.
    """

    frames: int
    seconds: float
    network_seconds: float
    share: np.ndarray
    classes: Classes
    instances: np.ndarray | None = None


def check_not_in_use(sources: Sequence[Source], places: Sequence[Path]) -> None:
    """Check that no file of somebody else would be replaced.

    Args:
        sources: what is predicted.
        places: folders of that name, MASKS or OVERLAY, that will be written into.

    Raises:
        InputError: one would.
    """
    for place, source in itertools.product(places, sources):
        ending = ".png" if place.name == MASKS else ".mp4" if source.is_video else ".jpg"
        path = place / short_path(source.name, ending)
        files = [path.with_name(f"{path.name}{ending}")]
        if source.is_video and place.name == MASKS:
            files = sorted(path.glob("*.png"))[:1]
        if files and files[0].is_file() and not is_own(files[0]):
            raise InputError(
                f"{files[0]}: would be replaced, but predict did not write it, or an older version did; "
                "give another --output, or remove the file if you do not need it"
            )


def overlay_writer(folder: Path, source: Source, open_files: ExitStack) -> Callable[[str, np.ndarray], None]:
    """A function that takes the name and the pixels (H, W, 3) uint8 RGB of each frame of a source, in order.

    It writes a video into one .mp4, open from its first frame until `open_files` closes; else .jpg files.
    """
    if source.is_video:
        path = file_inside(folder, f"{short_path(source.name, '.mp4')}.mp4")
        rate, times = video_info(source.path).rate, video_times(source.path)
        add = open_files.enter_context(video_writer(path, rate, times, comment=MADE_BY))
        return lambda name, pixels: add(pixels)

    def write(name: str, pixels: np.ndarray) -> None:
        save_overlay(pixels, file_inside(folder, f"{short_path(name, '.jpg')}.jpg"))

    return write
