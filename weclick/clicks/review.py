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

TRIALS = 3
LEAST_FOUND = 0.3
"""Of the list in a trial, this share must be planted; chance gives 1 / ONE_IN. The trial flatters a little:
on davis13 it tells up to 0.26, where the list is hardly better than chance."""

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
        found: what the classifier is worth here. One click in ONE_IN gets another class at random, on trial;
            this is the share of the list that is planted then; 0 if it lists none, NaN if there is no trial.
            Below LEAST_FOUND it judges no click.
    """

    suspects: list[Suspect] = field(default_factory=list)
    clicks: int = 0
    judged: int = 0
    agreed: float = float("nan")
    found: float = float("nan")

    @property
    def is_blind(self) -> bool:
        """Whether the classifier finds too few of the planted errors. Then it judges nothing."""
        return self.found < LEAST_FOUND


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
    judge = _Judge(clicks, click_features(clicks) if features is None else features)
    told = np.array([each.class_id for each in clicks])
    listed, judged, agreed = judge.unlikely(told)
    found = judge.trial(told, room) if judged else float("nan")
    unlikely = [] if found < LEAST_FOUND else listed[: room - len(doubles)]
    named = {id(suspect.click) for suspect in unlikely}
    doubles = [suspect for suspect in doubles if id(suspect.click) not in named]
    return Review(unlikely + doubles, len(clicks), judged, agreed, found)


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


class _Judge:
    """Holds clicks against what a classifier says that never learnt from them."""

    def __init__(self, clicks: Sequence[PlacedClick], features: np.ndarray) -> None:
        from weclick.clicks.out_of_fold import folds_of  # loads torch, which takes seconds

        self._clicks, self._features = clicks, features
        self._names = clicks[0].manifest.classes.names
        # positions count anew in the manifest of each split
        numbers = [each.clip.frames[each.position].number for each in clicks]
        self._folds = folds_of([each.clip.id for each in clicks], numbers)

    def unlikely(self, told: np.ndarray) -> tuple[list[Suspect], int, float]:
        """Clicks of another class than predicted, the least likely first; how many were judged, and agreed.

        Args:
            told: (N,) class ids.
        """
        from weclick.clicks.out_of_fold import out_of_fold

        probabilities = out_of_fold(self._features, told, self._folds, len(self._names))
        judged = np.flatnonzero(~np.isnan(probabilities[:, 0]))
        if not len(judged):
            return [], 0, float("nan")
        own, seen = probabilities[judged, told[judged]], probabilities[judged].argmax(1)
        differ = seen != told[judged]
        suspects = [
            Suspect(self._clicks[judged[i]], self._names[seen[i]], float(probabilities[judged[i], seen[i]]))
            for i in np.argsort(own, kind="stable")
            if differ[i]
        ]
        return suspects, len(judged), float(1 - differ.mean())

    def trial(self, told: np.ndarray, room: int) -> float:
        """The share of the list that is wrong, if `room` clicks get another class that occurs at random."""
        rng, occur = np.random.default_rng(0), np.unique(told)
        found = listed = 0
        for _ in range(TRIALS):
            wrong = rng.choice(len(told), room, replace=False)
            planted = told.copy()
            planted[wrong] = [rng.choice(occur[occur != class_id]) for class_id in told[wrong]]
            names = {id(self._clicks[i]) for i in wrong}
            suspects = self.unlikely(planted)[0][:room]
            found += sum(id(suspect.click) in names for suspect in suspects)
            listed += len(suspects)
        return found / listed if listed else 0.0  # it has found none of what was planted


def _doubles(clicks: Sequence[PlacedClick]) -> list[Suspect]:
    """Near doubles that no warning tells of, the nearest first."""
    points = {each.click: each for each in clicks if not each.is_scribble}
    pairs = [(distance_px(*pair), pair[1]) for pair in near_doubles(points, LOOK_PX)]
    far_enough = sorted((pair for pair in pairs if pair[0] > NEAR_PX), key=lambda pair: pair[0])
    return [Suspect(points[click], near_px=distance) for distance, click in far_enough]
