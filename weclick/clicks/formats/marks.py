"""What an annotation file says, in words that all formats share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from weclick.common.errors import InputError

MOST_POINTS = 250_000
"""Points of one import. People make 30 a minute, so this is a year of days."""

LEFT_OUT = {
    "not_points": "shapes and tags that are no points",
    "interpolated": "between key frames, where the tool put them and nobody clicked",
    "outside": "marked as outside the picture, as where a track ends",
    "not_labelled": "key points without a place",
    "relation": "relations between regions",
    "prediction": "predictions of a model",
    "cancelled": "in annotations that were cancelled or skipped",
    "other_annotator": "by further people on the same task; --annotator names one",
    "dropped": "of classes that --class-map maps to nothing",
    "duplicate": "repeat a click of the same class and pixel",
    "in_the_log": "stand in the log already",
}
"""What is no click, or no new one: reason -> what it means."""

ERRORS = {
    "malformed": "cannot be read",
    "video_points": "lie on a video, whose frames Label Studio counts by time",
    "unknown_clip": "their clip is not on disk",
    "unknown_frame": "their frame is not on disk",
    "ambiguous_frame": "their frame may be one of several",
    "size_differs": "the file tells another size of the frame",
    "no_label": "have no label",
    "unknown_class": "their label is no class",
    "out_of_frame": "lie outside their frame",
    "two_classes": "give a pixel a second class",
    "wrong_unit": "look like fractions or per cent",
}
"""What is wrong with a point: reason -> what it means."""

Unit = Literal["px", "centre", "percent"]
"""px: 0 is the corner of the first pixel. centre: 0 is its centre. percent: of the sides, from the corner."""


@dataclass(frozen=True, slots=True)
class Place:
    """The frame of a point, as far as the file tells it.

    Attributes:
        image: name or path of an image file, as the file spells it.
        clips: names that may be the clip's or its video's, the surest first.
        number: of the frame in its video, from 0.
        named: the frame's name or number, where the file also names the clip.
        time_s: when the frame is shown, in seconds.
        size: (H, W) px that the file tells.
    """

    image: str = ""
    clips: tuple[str, ...] = ()
    number: int | None = None
    named: str = ""
    time_s: float | None = None
    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        parts = [f"image {self.image!r}" * bool(self.image)]
        parts += [f"clip {self.clips[0]!r}" if self.clips and not self.image else ""]
        parts += [f"frame {self.named!r}" * bool(self.named)]
        parts += [f"frame {self.number}" if self.number is not None else ""]
        parts += [f"{self.time_s} s" if self.time_s is not None else ""]
        return ", ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Point:
    """A point that may become a click.

    Attributes:
        place: its frame.
        x, y: in `unit`, to the right and down.
        label: as the file spells it; empty if there is none.
        where: in the file, for errors.
        unit: of x and y.
        who: made it, as the file tells.
    """

    place: Place
    x: float
    y: float
    label: str
    where: str
    unit: Unit = "px"
    who: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """Something that is no click: a reason of LEFT_OUT, and how many there are."""

    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """A point that cannot be read: a reason of ERRORS, and what is wrong and where."""

    reason: str
    told: str


@dataclass(frozen=True, slots=True)
class Hint:
    """What a person should know of a file: a short name, and a sentence."""

    name: str
    told: str


Mark = Point | Left | Fault | Hint


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a person says of the files.

    Attributes:
        label_key: attribute or column that holds the class; empty: the file has one that it may be.
        annotator: id or e-mail of the one person whose annotations count; empty: the first on each task.
    """

    label_key: str = ""
    annotator: str = ""


def number(value: Any) -> float:
    """A number of a file, also one that is written as text; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def side(value: Any) -> int | None:
    """A side of an image in px; None where the file tells none."""
    read = number(value)
    return int(read) if math.isfinite(read) and read > 0 else None


def size(height: Any, width: Any) -> tuple[int, int] | None:
    """(H, W) px of an image, None where the file does not tell both."""
    sides = side(height), side(width)
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def check_count(points: int, name: str) -> None:
    """Raises InputError if a file holds more points than are read."""
    if points > MOST_POINTS:
        raise InputError(
            f"{name}: holds at least {points} points, expected at most {MOST_POINTS} that people made; "
            "import its parts one by one, or leave out what a tool interpolated"
        )
