"""Names of labels that are no files of their own: one frame of one video in a JSON file."""

from __future__ import annotations

import re
from typing import NamedTuple

_ADDRESS = re.compile(r"(?P<file>[^#]+\.json)#(?P<video>-?\d{1,18})/(?P<frame>\d{1,9})", re.ASCII)


class Address(NamedTuple):
    """A frame of a YouTube-VIS file, as `Frame.label` and `Frame.instances` name it: train.json#17/3.

    Attributes:
        file: the JSON file, relative to the root of the data set.
        video: id of the video.
        frame: position among the `file_names` of the video.
    """

    file: str
    video: int
    frame: int

    def __str__(self) -> str:
        """As a frame names it."""
        return f"{self.file}#{self.video}/{self.frame}"


def address_of(name: str) -> Address | None:
    """The address that a label's name is; None for the name of a file."""
    match = _ADDRESS.fullmatch(name)
    return Address(match["file"], int(match["video"]), int(match["frame"])) if match else None


def file_of(name: str) -> str:
    """The file that a label lies in: itself, or the file of its address."""
    address = address_of(name)
    return address.file if address else name
