"""The figures of experiments as plain records: `weclick.experiments`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.common.errors import MissingFileError
from weclick.runs.experiment.files import read_summary
from weclick.runs.experiment.kinds import kind_of, main_score
from weclick.runs.layout import SUMMARY, Layout

Record = dict[str, Any]
"""A row of a table: column -> value. None is a value that is not known."""


@dataclass(frozen=True)
class Experiments:
    """What came out of experiments, as two tables. `pandas.DataFrame(found.trials)` makes a frame of one.

    Attributes:
        trials: a record for each training that was scored: experiment, data, arm, seed; and miou,
            mean_accuracy, pixel_accuracy, temporal_consistency and on_targets (0..1), targets, clicks,
            train_seconds, steps, teacher_seconds, cache_bytes. Of arms that score a detector or its
            pseudo-labels: ap50, ap, semantic_miou, temporal_consistency, label_ap50 and label_recall50
            (0..1), labels_given and labels_used (a frame), targets, clicks, train_seconds, steps,
            label_seconds, cache_bytes.
        differences: a record for each comparison and score: experiment, data, of, minus, score; n, how many
            seeds have a difference; its mean over them, spread (sample standard deviation), low and high (of
            the 95 % interval, by a paired t-test), all in units of the score; and seeds_needed, to see the
            wanted effect on the score that arms are compared by, mIoU or AP50.
    """

    trials: list[Record]
    differences: list[Record]


def experiments(results: str | Path = "results") -> Experiments:
    """Read what came out of experiments.

    Args:
        results: the results folder of a run, all of whose experiments are read; or the folder or summary.json
            of one experiment.

    Raises:
        MissingFileError: there is no experiment.
        InputError: a summary cannot be read.

    Example:
        >>> import weclick
        >>> found = weclick.experiments("results")
        >>> found.trials[0]["experiment"], found.trials[0]["arm"], found.trials[0]["miou"]
        ('invented', 'teacher', 0.6)
        >>> best = found.differences[0]
        >>> f"{best['of']} - {best['minus']}: {best['mean']:.2f} ({best['low']:.2f} to {best['high']:.2f})"
        'kd - clicks: 0.11 (0.02 to 0.20)'
    """
    summaries = [read_summary(path) for path in _summaries(Path(results))]
    return Experiments(
        [record for summary in summaries for record in _trials(summary)],
        [record for summary in summaries for record in _differences(summary)],
    )


def _summaries(path: Path) -> list[Path]:
    if path.is_file() or (path / SUMMARY).is_file():
        return [path]
    found = sorted(Layout(path).experiment("*").parent.glob(f"*/{SUMMARY}"))
    if not found:
        raise MissingFileError(
            f"{path}: holds no experiment (experiment/<name>/{SUMMARY}); make one with `weclick "
            "run CONFIG experiment --with EXPERIMENT`, or give the folder of another run"
        )
    return found


def _trials(summary: Mapping[str, Any]) -> Iterator[Record]:
    for data, result in summary["results"].items():
        for arm, figures in result["arms"].items():
            for position, seed in enumerate(summary["seeds"]):
                known = {name: each["values"][position] for name, each in figures.items()}
                where = {"experiment": summary["name"], "data": data, "arm": arm, "seed": seed}
                yield {**where, **{name: known.get(name) for name in kind_of(result["arms"]).figures}}


def _differences(summary: Mapping[str, Any]) -> Iterator[Record]:
    for data, result in summary["results"].items():
        main, compared = main_score(result["arms"]), kind_of(result["arms"]).compared
        for row in result["differences"]:
            arms = {"of": row["of"], "minus": row["minus"]}
            for score in (name for name in compared if name in row):
                told = {name: row[score][name] for name in ("n", "mean", "spread", "low", "high")}
                needed = row["seeds_needed"] if score == main else None
                where = {"experiment": summary["name"], "data": data, **arms, "score": score}
                yield {**where, **told, "seeds_needed": needed}
