"""What came out of an experiment: every arm's values and intervals, and the differences between arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weclick.common.sections import ExperimentSection
from weclick.runs.experiment.choice import choose
from weclick.runs.experiment.choice import notes as choice_notes
from weclick.runs.experiment.costs import is_uneven, paces
from weclick.runs.experiment.kinds import SEGMENTS, Kind, Table, kind_of, main_score
from weclick.runs.experiment.statistics import better_of, estimate, paired, seeds_needed

ENOUGH = 3
"""Differences from whose spread one may tell how many seeds are needed. That of two is nearly anything."""

Figures = Mapping[tuple[str, int], Mapping[str, float | None]]
"""(arm, seed) -> figure -> its value; None or missing if it is not known."""


def results(
    section: ExperimentSection, arms: Sequence[str], figures: Figures, kind: Kind = SEGMENTS
) -> dict[str, Any]:
    """The results of one data set.

    Args:
        section: of the configuration; it names seeds, choices and comparisons.
        arms: their names, in the order in which they are shown.
        figures: of every trial.
        kind: of all arms.

    Returns:
        arms: name -> figure -> `estimate` over the seeds.
        chosen: choice -> the arm with the highest mean on the target frames, see `choose`.
        differences: those of `section["compare"]`, see `_differences`.
        notes: what could not be told, and why.
    """
    table = {
        arm: {
            name: estimate([figures[arm, seed].get(name) for seed in section["seeds"]])
            for name in kind.figures
        }
        for arm in arms
    }
    chosen = {
        name: choose(table, choice["among"], choice.get("within", 0))
        for name, choice in section["choose"].items()
    }
    differences = list(_differences(section, table, {name: one["arm"] for name, one in chosen.items()}))
    return {
        "arms": table,
        "chosen": chosen,
        "differences": differences,
        "notes": [*choice_notes(chosen, kind), *_same(differences), *_uneven(section, table)],
    }


def _differences(
    section: ExperimentSection, table: Table, chosen: Mapping[str, str | None]
) -> Iterator[dict[str, Any]]:
    """A row for each comparison.

    Each holds: asked, the names as configured; of and minus, the arms that they stand for, None if unknown;
    score -> `estimate` of the paired differences; seeds_needed, to see the wanted effect on the main score.
    """
    main = main_score(table)
    for asked in section["compare"]:
        of, *against = (chosen.get(name, name) for name in asked)
        known = {name: table[name][main] for name in against if name is not None}
        minus = better_of(known) if len(known) == len(against) else None
        row: dict[str, Any] = {"asked": asked, "of": of, "minus": minus}
        for score in kind_of(table).compared:
            two = [table[arm][score]["values"] for arm in dict.fromkeys((of, minus)) if arm is not None]
            row[score] = paired(*two) if len(two) == 2 else estimate([])
        spread = row[main]["spread"] if row[main]["n"] >= ENOUGH else None
        row["seeds_needed"] = seeds_needed(spread, section["wanted_effect"])
        yield row


def _same(differences: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in differences:
        if row["of"] is not None and row["of"] == row["minus"]:
            asked = f"{row['asked'][0]} against {', '.join(row['asked'][1:])}"
            yield f"{asked}: both stand for {row['of']}, so there is nothing to compare."


def _uneven(section: ExperimentSection, table: Table) -> Iterator[str]:
    """Arms of equal wall time whose times were measured beside other work."""
    for arm, told in section["arms"].items():
        for timed in dict.fromkeys(told[key] for key in ("as", "for_time_of") if told.get(key)):
            found = paces(table[timed])
            if is_uneven(found):
                yield (
                    f"{arm}: {timed} ran at {found[0]:.3g} to {found[-1]:.3g} steps a second, so other work "
                    "ran beside some seeds, and the wall times are not equal."
                )
