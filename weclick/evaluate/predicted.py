"""The outcome of a prediction, and how fast it was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from weclick.common import words
from weclick.common.errors import InputError, UnreadableError
from weclick.evaluate.answers import Answer
from weclick.manifest import Classes


@dataclass
class Pace:
    """What took how long.

    Attributes:
        frames: how many.
        seconds: from the first frame read to the last file written.
        decoding_seconds: spent reading and decoding. Of streams a thread does that beside the rest.
        network_seconds: spent in the network.
        writing_seconds: spent drawing, encoding and writing.
        dropped: frames of streams that nobody took.
        video_seconds: spent on videos and streams.
        filmed_seconds: how long the frames of these last at their rates.
        rates: frames a second of these.
    """

    frames: int = 0
    seconds: float = 0.0
    decoding_seconds: float = 0.0
    network_seconds: float = 0.0
    writing_seconds: float = 0.0
    dropped: int = 0
    video_seconds: float = 0.0
    filmed_seconds: float = 0.0
    rates: set[Fraction] = field(default_factory=set)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A block that writes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.writing_seconds += time.perf_counter() - began

    def count_video(self, frames: int, rate: Fraction, seconds: float) -> None:
        """Count a video or stream that is done."""
        self.video_seconds += seconds
        self.filmed_seconds += frames / float(rate)
        self.rates.add(rate)

    @property
    def real_time(self) -> float | None:
        """How many seconds of video are predicted in a second; None if there was no video."""
        return self.filmed_seconds / self.video_seconds if self.video_seconds else None

    def __str__(self) -> str:
        """Frames/s, of each part alone, too, and the ratio to real time, in one line."""
        parts = {
            "decoding": self.decoding_seconds,
            "network": self.network_seconds,
            "writing": self.writing_seconds,
        }
        each = ", ".join(f"{name} {_rate(self.frames, seconds)}" for name, seconds in parts.items())
        told = f"{_rate(self.frames, self.seconds)} frames/s ({each})"
        if self.real_time is not None:
            told += f", {words.rate(self.real_time)} times real time"
            told += f" ({words.rate(float(*self.rates))} frames/s)" if len(self.rates) == 1 else ""
        return told + (f", {words.plural(self.dropped, 'frame')} dropped" if self.dropped else "")


def _rate(frames: int, seconds: float) -> str:
    return words.rate(frames / seconds) if seconds else words.DASH


class Tally:
    """Pixels and objects of each class in some frames.

    Attributes:
        frames: how many.
        pixels: (256,) of each class; the last is of none.
        objects: (K,) that were shown.
    """

    def __init__(self, classes: int) -> None:
        self.frames, self.pixels, self.objects = 0, np.zeros(256), np.zeros(classes, np.int64)

    def add(self, answer: Answer) -> None:
        """Count a frame."""
        self.frames += 1
        self.pixels += np.bincount(answer.class_ids.ravel(), minlength=256)
        if answer.shown is not None:
            self.objects += np.bincount(answer.shown.classes, minlength=len(self.objects))

    def merge(self, other: Tally) -> None:
        """Count what another has counted."""
        self.frames += other.frames
        self.pixels += other.pixels
        self.objects += other.objects


@dataclass(frozen=True)
class Predicted:
    """The outcome of a prediction.

    Attributes:
        frames: how many.
        share: (K,) part of all pixels that each class got.
        classes: of the checkpoint.
        pace: how fast it was.
        told: by what the network ran, in words.
        instances: (K,) how many objects of each class were shown; None unless the network finds some.
        fault: what was wrong with some sources, while the others are done; None if all are.
    """

    frames: int
    share: np.ndarray
    classes: Classes
    pace: Pace
    told: str
    instances: np.ndarray | None = None
    fault: InputError | UnreadableError | None = None


def one_fault(faults: Sequence[InputError | UnreadableError]) -> InputError | UnreadableError | None:
    """What is wrong with several sources as one error; None if nothing is."""
    if len(faults) < 2:
        return faults[0] if faults else None
    told = "".join(f"\n  {fault}" for fault in faults)
    whole = f"{len(faults)} sources could not be predicted:{told}"
    unread = all(isinstance(fault, UnreadableError) for fault in faults)
    return UnreadableError(whole) if unread else InputError(whole)
