"""Clicks as prompts of SAM 2: which object each point speaks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weclick.manifest import Clip
from weclick.manifest.click_table import ClickTable

SCRIBBLE_POINTS = 8
"""Of a scribble, so many points speak for its object, evenly spread. SAM 2 has learnt from few points."""


@dataclass(frozen=True)
class Prompt:
    """An object, and the points on one frame that tell it from others.

    Attributes:
        object_id: from 1 on, over all clicks of a clip.
        class_id: of the object.
        points: (P, 2) float32, [x, y] in px of the frame, centres at integers.
        labels: (P,) int32, 1 on the object, 0 on another one.
    """

    object_id: int
    class_id: int
    points: np.ndarray
    labels: np.ndarray


def prompts_of(clip: Clip, clicks: ClickTable, negatives: int) -> dict[int, list[Prompt]]:
    """Each click, and each scribble, of a clip as an object of its own.

    Clicks on objects of other classes tell where the object is not. Clicks of the same class do not: if its
    mask spreads over such an object, no pixel gets a wrong class.

    Args:
        clip: of a manifest.
        clicks: of its split.
        negatives: how many of these other clicks at most, the nearest ones.

    Returns:
        Position of a clicked frame -> its prompts, in the order of the table.
    """
    found: dict[int, list[Prompt]] = {}
    objects = 0
    for t, frame in enumerate(clip.frames):
        marks = _marks(clicks, clip.id, frame.name)
        for own, (class_id, points) in enumerate(marks):
            others = _nearest(points[0], marks[:own] + marks[own + 1 :], class_id, negatives)
            objects += 1
            found.setdefault(t, []).append(
                Prompt(
                    objects,
                    class_id,
                    np.concatenate([points, others]),
                    np.repeat(np.array([1, 0], np.int32), [len(points), len(others)]),
                )
            )
    return found


def listed(clip: Clip, clicks: ClickTable) -> list[list[Any]]:
    """All clicks of a clip as JSON has them, by the positions of frames: part of a key."""
    return [
        [t, class_id, points.astype(int).tolist()]
        for t, frame in enumerate(clip.frames)
        for class_id, points in _marks(clicks, clip.id, frame.name)
    ]


def _marks(clicks: ClickTable, clip: str, frame: str) -> list[tuple[int, np.ndarray]]:
    """Class and points (P, 2) [x, y] of each click and then of each scribble of a frame."""
    rows = clicks.of(clip, frame)
    numbers = clicks.scribbles.get((clip, frame), np.zeros(len(rows), np.int32))
    xy = np.stack([rows["x"], rows["y"]], 1).astype(np.float32)
    marks = [(int(rows["class_id"][i]), xy[i : i + 1]) for i in np.flatnonzero(numbers == 0)]
    for number in np.unique(numbers[numbers > 0]):
        of = np.flatnonzero(numbers == number)
        spread = of[np.linspace(0, len(of) - 1, min(len(of), SCRIBBLE_POINTS)).round().astype(int)]
        marks.append((int(rows["class_id"][of[0]]), xy[spread]))
    return marks


def _nearest(at: np.ndarray, marks: Sequence[tuple[int, np.ndarray]], class_id: int, most: int) -> np.ndarray:
    """The points (N, 2) of other classes that are nearest to a point, one of each mark."""
    others = [points[len(points) // 2] for other, points in marks if other != class_id]
    if not others or not most:
        return np.empty((0, 2), np.float32)
    points = np.stack(others)
    return points[np.argsort(((points - at) ** 2).sum(1), kind="stable")[:most]]


def classes_by_object(prompts: Mapping[int, Sequence[Prompt]]) -> dict[int, int]:
    """Object id -> class id."""
    return {prompt.object_id: prompt.class_id for each in prompts.values() for prompt in each}
