"""One arm from its first clicks to the end of its budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import torch
from torch import nn

from weclick.clicks.asking import Looked, propose, random_pixels
from weclick.common.sections import AnnotationSection, ClicksSection
from weclick.manifest import IGNORE
from weclick.metrics import ConfusionMatrix
from weclick.runs.ask.look import margins
from weclick.runs.click_bench.arms import Arm, frame_clicks
from weclick.runs.click_bench.features import Features, Point, predicted, train_head
from weclick.runs.click_bench.oracle import Oracle
from weclick.runs.click_bench.pool import Pool

LOOKED_PIXELS = 512
"""Random pixels of a frame at which margins are taken."""


@dataclass(frozen=True)
class Rules:
    """What is the same for all arms.

    Attributes:
        start: first clicks.
        budget: clicks in all.
        per_round: clicks between two trainings.
        clicks, annotation: sections of the configuration: which objects get a click, and a click's seconds.
    """

    start: int
    budget: int
    per_round: int
    clicks: ClicksSection
    annotation: AnnotationSection


@dataclass
class Clicked:
    """Clicks so far, and what they cost.

    Attributes:
        annotation: section of the configuration, the seconds of a click.
        points: those that teach something.
        asked: of each frame, the pixels that were asked, also where nobody can tell.
        seconds: a person's time.
        void: how many were asked where nobody can tell.
    """

    annotation: AnnotationSection
    points: list[Point] = field(default_factory=list)
    asked: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    seconds: float = 0.0
    void: int = 0
    _seen: set[tuple[int, int, int]] = field(default_factory=set)

    @property
    def count(self) -> int:
        """All clicks, also those that teach nothing."""
        return len(self.points) + self.void

    def copy(self) -> Clicked:
        """Clicks to go on from."""
        asked = {frame: list(places) for frame, places in self.asked.items()}
        return replace(self, points=list(self.points), asked=asked, _seen=set(self._seen))

    def add(self, frame: int, y: int, x: int, class_id: int, visit: int) -> None:
        """Add a click.

        Args:
            frame, y, x: its place.
            class_id: the answer; IGNORE teaches nothing and costs as much.
            visit: a person who comes back to a frame has to look at it anew.
        """
        self.asked.setdefault(frame, []).append((y, x))
        seen = (visit, frame, class_id)
        self.seconds += self.annotation["click_next_s" if seen in self._seen else "click_first_s"]
        self._seen.add(seen)
        if class_id == IGNORE:
            self.void += 1
        else:
            self.points.append((frame, y, x, class_id))


@dataclass(frozen=True)
class Curve:
    """What an arm reached.

    Attributes:
        clicks, seconds: spent at each training.
        miou: on the held-out frames then.
        void: answers that taught nothing.
        per_class: clicks of each class at the end.
        ran_out: whether there was nothing left to click before the budget was spent.
    """

    clicks: list[int]
    seconds: list[float]
    miou: list[float]
    void: int
    per_class: list[int]
    ran_out: bool


def first_clicks(pool: Pool, oracle: Oracle, rules: Rules, seed: int) -> Clicked:
    """The clicks that all arms begin with: the objects of whole frames, as a person begins on the page."""
    rng = np.random.default_rng((seed, 0))
    begun = Clicked(rules.annotation)
    for frame, y, x in islice(frame_clicks(Arm("start"), pool.shots, oracle, rules.clicks, rng), rules.start):
        begun.add(frame, y, x, oracle.answer(frame, y, x), 0)
    return begun


def simulate(
    arm: Arm,
    pool: Pool,
    features: Features,
    oracle: Oracle,
    begun: Clicked,
    rules: Rules,
    seed: int,
    baseline: float | None = None,
) -> Curve:
    """Click, train and score in turn.

    Args:
        arm: chooses.
        pool: of frames.
        features: of the pool's frames, and behind them of the held-out ones.
        oracle: answers.
        begun: the first clicks.
        rules: of all arms.
        seed: of weights and draws.
        baseline: mIoU of the first training, which is the same for all arms; None trains it.
    """
    rng = np.random.default_rng((seed, 3))
    clicked, classes = begun.copy(), len(pool.classes.names)
    whole = _not_yet(frame_clicks(arm, pool.shots, oracle, rules.clicks, rng), clicked)
    head = train_head(*features.at_points(clicked.points), classes, seed)
    curve: list[tuple[int, float, float]] = [
        (clicked.count, clicked.seconds, _miou(head, pool, features) if baseline is None else baseline)
    ]
    turn = 0
    while clicked.count < rules.budget:
        turn += 1
        count = min(rules.per_round, rules.budget - clicked.count)
        if arm.options is None:
            places = list(islice(whole, count))
        else:
            asked = [np.array(clicked.asked.get(frame, [])) for frame in range(len(pool.shots))]
            looked = _look(head, pool, features, rng) if arm.options.random_share < 1 else _blind(pool, rng)
            found = propose(looked, asked, count, rng, arm.options)
            places = [(ask.frame, ask.y, ask.x) for ask in found]
        if not places:
            break
        for frame, y, x in places:
            visit = 0 if arm.options is None else turn
            clicked.add(frame, y, x, oracle.answer(frame, y, x), visit)
        head = train_head(*features.at_points(clicked.points), classes, seed)
        curve.append((clicked.count, clicked.seconds, _miou(head, pool, features)))
    clicks, seconds, miou = (list(column) for column in zip(*curve, strict=True))
    per_class = np.bincount([point[3] for point in clicked.points], minlength=classes).tolist()
    return Curve(clicks, seconds, miou, clicked.void, per_class, ran_out=clicked.count < rules.budget)


def _not_yet(places: Iterator[tuple[int, int, int]], clicked: Clicked) -> Iterator[tuple[int, int, int]]:
    """Clicks of whole frames without those frames on which the first clicks lie."""
    begun = set(clicked.asked)
    return (place for place in places if place[0] not in begun)


@torch.inference_mode()
def _look(head: nn.Module, pool: Pool, features: Features, rng: np.random.Generator) -> list[Looked]:
    looked = []
    for frame, shot in enumerate(pool.shots):
        yx = random_pixels(shot.size, LOOKED_PIXELS, rng)
        looked.append(margins(head(features.at(frame, yx)), yx, shot.size))
    return looked


def _blind(pool: Pool, rng: np.random.Generator) -> list[Looked]:
    """Random pixels of which nothing is known."""
    places = [random_pixels(shot.size, LOOKED_PIXELS, rng) for shot in pool.shots]
    nothing = np.zeros(LOOKED_PIXELS)
    return [
        Looked(yx, nothing[: len(yx)], nothing[: len(yx)], shot.size)
        for yx, shot in zip(places, pool.shots, strict=True)
    ]


def _miou(head: nn.Module, pool: Pool, features: Features) -> float:
    matrix = ConfusionMatrix(len(pool.classes.names), IGNORE)
    for i, shot in enumerate(pool.held_out):
        matrix.update(predicted(head, features.maps[len(pool.shots) + i], shot.size), shot.label)
    return float(matrix.miou())
