"""Whether the scores of several runs can be compared, and why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from weclick.common import words
from weclick.common.load import busy_words
from weclick.common.sections import Config
from weclick.common.stages import FLOW_KEYS
from weclick.evaluate.scored import classes_words, one_class_words
from weclick.runs.report.results import Results

ACCURACY = ("miou", "mean_accuracy", "pixel_accuracy", "click_accuracy")
CONSISTENCY, SPEED = "temporal_consistency", "fps"
LISTED = 5
"""Clips or classes that a warning names at most."""


class Fairness:
    """What runs were scored on, and which of their scores can stand side by side.

    Args:
        runs: label -> configuration and results.

    Attributes:
        warnings: reasons against a comparison, each a sentence that names the runs and their values.
        unfair: names of scores that cannot be compared; of these none is the best.
    """

    def __init__(self, runs: Mapping[str, tuple[Config, Results]]):
        self._runs = runs
        found = [*self._of_frames(), *self._of_consistency(), *self._of_speed()]
        self.warnings = [text for text, _ in found] + [*self._of_each()]
        self.unfair = {score for _, scores in found for score in scores}

    def scored_on(self) -> list[tuple[str, list[str]]]:
        """(heading, a cell for each run) of the frames that they were scored on."""
        rows: list[tuple[str, Callable[[Results], str]]] = [
            ("Size of the frames, px", lambda run: words.size(_size(run))),
            ("Scored frames", lambda run: words.count(_scored(run))),
            ("Scored clips", lambda run: words.count(len(_clips(run)))),
            ("Classes in the labels", lambda run: classes_words(run.evaluation) or f"all {_classes(run)}"),
        ]
        return [(title, [tell(run) for _, run in self._runs.values()]) for title, tell in rows]

    def _of_frames(self) -> Iterator[tuple[str, Sequence[str]]]:
        every = (*ACCURACY, CONSISTENCY)
        for what, tell in (
            ("were scored at other sizes of the frames, px", lambda run: words.size(_size(run))),
            ("shrink the frames otherwise (data.shrink)", lambda run: f"1/{run.val.shrink}"),
            ("were scored on other numbers of frames", lambda run: words.plural(_scored(run), "frame")),
            ("were scored on other clips", lambda run: _listed(_clips(run))),
            ("know other classes", lambda run: _listed(run.val.classes.names)),
        ):
            if text := self._differ(what, tell):
                yield text, every
        first, *others = self._runs
        for label in others:
            if _labels(self._runs[label][1]) != _labels(self._runs[first][1]):
                text = f"{label} is scored on other frames than {first}: do not compare their scores."
                yield text, every

    def _of_consistency(self) -> Iterator[tuple[str, Sequence[str]]]:
        flows = [_flow_of(config) for config, _ in self._runs.values()]
        if any(flow != flows[0] for flow in flows[1:]):
            text = "The runs measure temporal consistency along other flow (flow, evaluate.max_gap_frames)"
            yield f"{text}: do not compare it.", (CONSISTENCY,)

    def _of_speed(self) -> Iterator[tuple[str, Sequence[str]]]:
        if text := self._differ("were timed on other devices", lambda run: run.evaluation.get("device", "?")):
            yield text, (SPEED,)
        if not self.equal(_size):
            yield "Frames per second are those of frames of other sizes: do not compare them.", (SPEED,)
        for label, (_, run) in self._runs.items():
            if busy := busy_words(run.evaluation.get("speed")):
                yield f"The speed of {label} was {busy}: do not compare it.", (SPEED,)

    def _of_each(self) -> Iterator[str]:
        for label, (_, run) in self._runs.items():
            if limits := classes_words(run.evaluation):
                yield f"{label} is scored on {limits}."
            if one_class := one_class_words(run.evaluation):
                yield f"{label} has no temporal consistency: {one_class}."

    def equal(self, of: Callable[[Results], Any]) -> bool:
        """Whether all runs agree on something."""
        first, *others = (of(run) for _, run in self._runs.values())
        return all(other == first for other in others)

    def _differ(self, what: str, tell: Callable[[Results], str]) -> str:
        if self.equal(tell):
            return ""
        told = "; ".join(f"{label}: {tell(run)}" for label, (_, run) in self._runs.items())
        return f"The runs {what} ({told}): do not compare their scores."


def _flow_of(config: Config) -> tuple[Any, ...]:
    """What temporal consistency is measured along; how a network looks at flow does not change that."""
    own: Mapping[str, Any] = config["flow"]
    return *(own[key] for key in FLOW_KEYS), config["evaluate"]["max_gap_frames"]


def _size(run: Results) -> tuple[int, ...]:
    sizes = {clip.size for clip in run.val.clips if clip.scored}
    return tuple(run.evaluation.get("image_size", ())) if len(sizes) != 1 else next(iter(sizes))


def _scored(run: Results) -> int:
    return sum(len(clip.scored) for clip in run.val.clips)


def _clips(run: Results) -> tuple[str, ...]:
    return tuple(sorted(clip.id for clip in run.val.clips if clip.scored))


def _classes(run: Results) -> int:
    return len(run.val.classes.names)


def _labels(run: Results) -> set[str | None]:
    """Digests of the labels that a run is scored on."""
    return {
        clip.frames[t].label_digest or clip.frames[t].digest for clip in run.val.clips for t in clip.scored
    }


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}"
