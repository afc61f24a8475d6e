"""Chooses an arm by the target frames alone, and says how sure the choice is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weclick.common import words
from weclick.runs.experiment.kinds import Kind, Table, kind_of
from weclick.runs.experiment.statistics import better_of, estimate, paired

BY = {
    "on_targets": "the mIoU on the target frames",
    "on_clicks": "the share of the target frames' clicks that are hit",
    "label_ap50": "the AP50 of the pseudo-labels on training frames",
}
"""Figures that may choose, see `Kind.choosing`. mIoU and AP50 need truth on training frames."""


def choose(table: Table, among: Sequence[str], within: float = 0) -> dict[str, Any]:
    """The arm with the highest mean on the target frames, and its lead over the second.

    Args:
        table: of all arms.
        among: arms to choose from.
        within: arms whose means are at most so far below the highest are tied. Of these, the one whose seeds
            spread least is taken.

    Returns:
        by: the first figure of their kind that may choose and is known of all arms, None if there is none;
        means: of each arm by that figure, or by the best of the kind; arm, the chosen one, and runner_up, the
        second, None if there is none; lead: `estimate` of the paired differences of these two. With `within`
        above 0 also tied: the arms that are tied with the highest, itself included, with their spreads.
    """
    figures = kind_of(table).choosing
    by = next((name for name in figures if all(_mean(table, arm, name) is not None for arm in among)), None)
    means = {arm: _mean(table, arm, by or figures[0]) for arm in among}
    told: dict[str, Any] = {"arm": None, "by": by, "means": means, "runner_up": None, "lead": estimate([])}
    if by is None:
        return told
    found = {arm: table[arm][by] for arm in among}
    told["arm"] = better_of(found)
    if within and told["arm"]:
        least = found[told["arm"]]["mean"] - within
        told["tied"] = {arm: score["spread"] for arm, score in found.items() if score["mean"] >= least}
        told["arm"] = _steadiest(told["tied"], told["arm"])
    told["runner_up"] = better_of({arm: score for arm, score in found.items() if arm != told["arm"]})
    if told["arm"] and told["runner_up"]:
        told["lead"] = paired(*(found[told[key]]["values"] for key in ("arm", "runner_up")))
    return told


def notes(chosen: Mapping[str, Mapping[str, Any]], kind: Kind) -> Iterator[str]:
    """A sentence on each choice that could not be made by the best figure of a kind."""
    for name, choice in chosen.items():
        if choice["by"] is None:
            told = ", ".join(arm for arm, mean in choice["means"].items() if mean is None)
            best = BY[kind.choosing[0]].removeprefix("the ")
            clicks = ", and the share of clicks that are hit is not known of all arms"
            rest = clicks if "on_clicks" in kind.choosing else ""
            yield f"{name}: no {best} is known of {told}{rest}, so no arm was chosen."
        elif choice["by"] == "on_clicks":
            yield (
                f"{name} was chosen by {BY['on_clicks']}: without full masks on these frames, there is no "
                "mIoU to choose by. Clicks tell less, since they leave most pixels out."
            )


def choice_words(name: str, choice: Mapping[str, Any]) -> list[str]:
    """What a page says of a choice: the arm, all means, and whether the runner-up could as well be meant.

    Args:
        name: of the choice.
        choice: as `choose` returns it; what an older summary lacks is left out.
    """
    if choice["arm"] is None:
        return [f"{name} is none: no figure that may choose is known of all arms."]
    by = choice.get("by") or "on_targets"
    means = ", ".join(f"{arm} {words.percent(mean)}" for arm, mean in choice["means"].items())
    told = [f"{name} is {choice['arm']}, chosen by {BY[by]}: {means}."]
    if len(choice.get("tied", ())) > 1:
        told.append(_tie_words(choice["arm"], choice["tied"]))
    if choice.get("runner_up"):
        told.append(_lead_words(choice["arm"], choice["runner_up"], choice["lead"]))
    return told


def _steadiest(spreads: Mapping[str, float | None], highest: str) -> str:
    """The arm of the least spread; the highest one where a single seed tells none."""
    known = {arm: spread for arm, spread in spreads.items() if spread is not None}
    return min(known, key=known.__getitem__) if len(known) == len(spreads) else highest


def _tie_words(arm: str, spreads: Mapping[str, float | None]) -> str:
    """Why an arm was taken of several that are tied."""
    if None in spreads.values():
        return f"{', '.join(spreads)} are tied; one seed tells no spread, so the highest was taken."
    told = ", ".join(f"{name} {100 * (spread or 0):.1f}" for name, spread in spreads.items())
    return f"These are tied, and the seeds of {arm} spread least (standard deviations in points: {told})."


def _lead_words(arm: str, second: str, lead: Mapping[str, Any]) -> str:
    """The lead over the runner-up, and what its interval says."""
    told = f"Its lead over the runner-up {second} is {words.points(lead['mean'])} points"
    if lead["low"] is None or lead["high"] is None:
        return f"{told}. Too few seeds tell whether the choice is within noise."
    ends = f"{words.points(lead['low'])} to {words.points(lead['high'])}"
    told += f" (95 % interval of the paired differences {ends})"
    if lead["low"] <= 0 <= lead["high"]:
        noise = f"the choice is within noise, and {second} may be as good as {arm}"
        return f"{told}. The interval contains 0: {noise}."
    return f"{told}. The interval leaves out 0."


def _mean(table: Table, arm: str, figure: str) -> float | None:
    mean = table[arm].get(figure, {}).get("mean")
    return float(mean) if words.known(mean) else None
