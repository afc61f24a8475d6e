"""Which clicks a person should look at again: at most one in twenty, and none of them need be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from weclick.clicks.checks import NEAR_PX, distance_px, near_doubles
from weclick.clicks.features import point_features
from weclick.clicks.placed import PlacedClick, frames_of

ONE_IN = 20
"""The list holds at most one click in so many. A longer one is not read."""

NEAR_ONE_IN = 5
"""Of the list, one place in so many is for clicks that may be double. Honest ones lie so near, too."""

LOOK_PX = 24
"""Clicks of one class so near each other, but not within NEAR_PX, may be on the list."""


@dataclass(frozen=True)
class Suspect:
    """A click to look at.

    Attributes:
        click: the click.
        seen: the class that a classifier tells which has not learnt from it; empty for a near double.
        share: the classifier's probability of that class, 0..1.
        near_px: how far from an earlier click of its class it lies; 0: it is no near double.
    """

    click: PlacedClick
    seen: str = ""
    share: float = 0.0
    near_px: float = 0.0

    @property
    def why(self) -> str:
        """What speaks against the click."""
        if self.near_px:
            return f"{self.near_px:.0f} px from an earlier click of its class"
        return f"looks like {self.seen} ({100 * self.share:.0f} %)"


@dataclass(frozen=True)
class Review:
    """The list.

    Attributes:
        suspects: the least likely first, then near doubles.
        clicks: how many there are.
        judged: how many of them a classifier that had not learnt from them looked at.
        agreed: the share of the judged whose class it tells, too; NaN if none is judged.
    """

    suspects: list[Suspect] = field(default_factory=list)
    clicks: int = 0
    judged: int = 0
    agreed: float = float("nan")


def review(clicks: Sequence[PlacedClick], features: np.ndarray | None = None) -> Review:
    """The clicks that are the least likely, by a classifier of colours and places that never saw them.

    It learns from the clicks of other clips, or of other stretches of time, see `folds_of`.

    Args:
        clicks: all of a data set, in the order in which they were made.
        features: (N, F) of each click, see `click_features`; None reads the frames for them.

    Raises:
        ValueError: a frame cannot be read.
    """
    room = len(clicks) // ONE_IN
    if not room:
        return Review(clicks=len(clicks))
    doubles = _doubles(clicks)[: -(-room // NEAR_ONE_IN)]
    unlikely, judged, agreed = _unlikely(clicks, click_features(clicks) if features is None else features)
    named = {id(suspect.click) for suspect in unlikely[: room - len(doubles)]}
    doubles = [suspect for suspect in doubles if id(suspect.click) not in named]
    return Review(unlikely[: room - len(doubles)] + doubles, len(clicks), judged, agreed)


def click_features(clicks: Sequence[PlacedClick]) -> np.ndarray:
    """(N, F) what the frames look like around clicks; every frame is read once.

    Raises:
        ValueError: a frame cannot be read.
    """
    rows: dict[int, np.ndarray] = {}
    for image, found in frames_of(clicks):
        features = point_features(image, np.array([clicks[i].share for i in found]))
        rows.update(zip(found, features, strict=True))
    return np.stack([rows[i] for i in range(len(clicks))])


def _unlikely(clicks: Sequence[PlacedClick], features: np.ndarray) -> tuple[list[Suspect], int, float]:
    """Clicks of another class than is predicted, the least likely first; how many were judged, and agreed."""
    from weclick.clicks.out_of_fold import folds_of, out_of_fold  # loads torch, which takes seconds

    names = clicks[0].manifest.classes.names
    told = np.array([each.class_id for each in clicks])
    folds = folds_of([each.clip.id for each in clicks], [each.position for each in clicks])
    probabilities = out_of_fold(features, told, folds, len(names))
    judged = np.flatnonzero(~np.isnan(probabilities[:, 0]))
    if not len(judged):
        return [], 0, float("nan")
    own, seen = probabilities[judged, told[judged]], probabilities[judged].argmax(1)
    differ = seen != told[judged]
    suspects = [
        Suspect(clicks[judged[i]], names[seen[i]], float(probabilities[judged[i], seen[i]]))
        for i in np.argsort(own, kind="stable")
        if differ[i]
    ]
    return suspects, len(judged), float(1 - differ.mean())


def _doubles(clicks: Sequence[PlacedClick]) -> list[Suspect]:
    """Near doubles that no warning tells of, the nearest first."""
    points = {each.click: each for each in clicks if not each.is_scribble}
    pairs = [(distance_px(*pair), pair[1]) for pair in near_doubles(points, LOOK_PX)]
    far_enough = sorted((pair for pair in pairs if pair[0] > NEAR_PX), key=lambda pair: pair[0])
    return [Suspect(points[click], near_px=distance) for distance, click in far_enough]
