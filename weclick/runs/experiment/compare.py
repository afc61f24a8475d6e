"""One page about several experiments: arms that were scored on the same frames, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.common import words
from weclick.common.errors import InputError
from weclick.common.files import write_text
from weclick.common.flat import evenly, flatten, spell
from weclick.runs.experiment.columns import MINUS, heads, interval, shown
from weclick.runs.experiment.files import read_summary
from weclick.runs.experiment.kinds import known_figures, main_score
from weclick.runs.experiment.page import NAMES, arm_row, facts_words
from weclick.runs.experiment.statistics import paired
from weclick.runs.layout import SUMMARY, Layout
from weclick.runs.report.compare import differences, labelled
from weclick.runs.report.figures import dots_chart
from weclick.runs.report.page import environment


@dataclass(frozen=True)
class Shown:
    """An arm of an experiment on a data set: `label` is the experiment's."""

    label: str
    data: str
    arm: str
    summary: Mapping[str, Any]

    @property
    def source(self) -> str:
        """The experiment, with the data set if it has several."""
        return f"{self.label}, {self.data}" if len(self.summary["results"]) > 1 else self.label

    @property
    def figures(self) -> Mapping[str, Any]:
        """Figure -> its estimate over the seeds."""
        return self.summary["results"][self.data]["arms"][self.arm]

    @property
    def score(self) -> str:
        """The one that the experiment compares arms by on this data set."""
        return main_score(self.summary["results"][self.data]["arms"])

    @property
    def by_seed(self) -> dict[int, float | None]:
        """Seed -> value of this score."""
        return dict(zip(self.summary["seeds"], self.figures[self.score]["values"], strict=True))


def is_experiment(given: str) -> bool:
    """Whether an argument of `weclick compare` names an experiment: a summary, or the folder of one."""
    path = Path(given.partition("=")[0])
    return path.is_file() or ((path / SUMMARY).is_file() and not Layout(path).report_card.is_file())


def write_experiments(out: Path, given: Sequence[str]) -> list[str]:
    """Write one self-contained page about several experiments.

    Args:
        out: HTML file.
        given: summaries, copies of them, or folders of experiments, each as PATH or PATH=LABEL.

    Returns:
        What sets the experiments apart, each a sentence; the page shows them, too.

    Raises:
        MissingFileError, InputError: one of them is no experiment, or as in `labelled`.
    """
    if strange := [text for text in given if not is_experiment(text)]:
        raise InputError(
            f"{strange[0]}: is no experiment, but others of the list are; compare runs with runs, and "
            f"experiments (their folder, or their {SUMMARY}) with experiments"
        )
    summaries = {label: read_summary(path) for path, label in labelled(given, "experiments")}
    groups = _groups(summaries)
    warnings = list(_warnings(summaries))
    page = (
        environment()
        .get_template("experiments.html.j2")
        .render(
            labels=list(summaries),
            questions=[summary.get("question", "") for summary in summaries.values()],
            warnings=warnings,
            groups=[_group(position, shown) for position, shown in enumerate(groups)],
            differences=differences({label: summary["config"] for label, summary in summaries.items()}),
            origins={label: summary["origin"] for label, summary in summaries.items()},
        )
    )
    write_text(out, page)
    return warnings


def _groups(summaries: Mapping[str, Mapping[str, Any]]) -> list[list[Shown]]:
    """The arms by score and by the frames that it is of, since only these can stand in one table."""
    groups: dict[tuple[str, str], list[Shown]] = {}
    for label, summary in summaries.items():
        for data, found in summary["results"].items():
            group = groups.setdefault((found["facts"]["scored_sha256"], main_score(found["arms"])), [])
            group += [Shown(label, data, arm, summary) for arm in found["arms"]]
    return list(groups.values())


def _group(position: int, arms: Sequence[Shown]) -> dict[str, Any]:
    first = arms[0]
    names = [f"{each.source}: {each.arm}" for each in arms]
    score = NAMES[first.score]
    columns = shown(known_figures({name: each.figures for name, each in zip(names, arms, strict=True)}))
    return {
        "title": ", ".join(dict.fromkeys(each.data for each in arms)),
        "score": score,
        "columns": heads(columns, intervals=False),
        "facts": facts_words(first.summary["results"][first.data]["facts"]),
        "rows": [
            {
                **arm_row(
                    each.arm,
                    each.summary["arms"][each.arm],
                    each.figures,
                    each.score,
                    columns,
                    intervals=False,
                ),
                "source": each.source,
                "data": each.data,
            }
            for each in arms
        ],
        "chart": dots_chart(
            {name: each.figures[each.score] for name, each in zip(names, arms, strict=True)},
            name=f"group-{position}",
            alt=f"{score} of every arm of every experiment, a dot for each seed",
            axis=score,
        ),
        "pairs": list(_pairs(arms)),
    }


def _pairs(shown: Sequence[Shown]) -> Iterator[dict[str, str]]:
    """Paired differences of arms that have one name in two experiments, over the seeds of both."""
    for position, first in enumerate(shown):
        for other in shown[position + 1 :]:
            seeds = [seed for seed in first.by_seed if seed in other.by_seed]
            several = first.source != first.label or other.source != other.label
            alike = first.arm == other.arm and (first.data == other.data or not several)
            if not alike or first.label == other.label or not seeds:
                continue
            of, minus = other.by_seed, first.by_seed
            score = paired([of[seed] for seed in seeds], [minus[seed] for seed in seeds])
            yield {
                "name": f"{other.arm}: {other.source} {MINUS} {first.source}",
                "seeds": words.count(score["n"]),
                "mean": words.points(score["mean"]),
                "interval": interval(score, words.points),
            }


def _warnings(summaries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What sets the experiments apart."""
    origins = [summary["origin"] for summary in summaries.values()]
    groups = _groups(summaries)
    if len({group[0].score for group in groups}) > 1:
        yield "The experiments compare arms by other scores: each table below is for itself."
    elif any(len({each.label for each in group}) < len(summaries) for group in groups):
        yield "The experiments are not all scored on the same frames: each table below is for itself."
    if len({str(origin.get("machine")) for origin in origins}) > 1:
        yield "The experiments were summed up on other machines: do not compare their times."
    if len({str(origin.get("training_code")) for origin in origins}) > 1:
        yield "The experiments were trained with other code: what differs may be due to that."
    yield from _other_arms(summaries)
    seeds = {label: summary["seeds"] for label, summary in summaries.items()}
    if len({tuple(each) for each in seeds.values()}) > 1:
        told = "; ".join(f"{label}: {', '.join(map(str, each))}" for label, each in seeds.items())
        yield f"The experiments have other seeds ({told})."


def _other_arms(summaries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Arms of one name that are others in another experiment."""
    for arm in dict.fromkeys(arm for summary in summaries.values() for arm in summary["arms"]):
        given = {label: summary["arms"].get(arm) for label, summary in summaries.items()}
        told = {label: _settings(each) for label, each in given.items() if each}
        names = dict.fromkeys(name for each in told.values() for name in each)
        if other := [name for name in names if len({each.get(name) for each in told.values()}) > 1]:
            yield f"{arm} is not the same arm in {' and '.join(told)}: they differ in {', '.join(other)}."


def _settings(arm: Mapping[str, Any]) -> dict[str, str]:
    """What an arm is: what it changes, and the rest of its description."""
    rest = {name: arm[name] for name in ("scores", "as", "for_time_of") if name in arm}
    return {name: spell(evenly(value)) for name, value in (*flatten(arm["change"]), *rest.items())}
