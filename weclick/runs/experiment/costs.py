"""What an experiment cost: minutes of people, hours of training, and whether the times can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from weclick.common import words
from weclick.common.sections import AnnotationSection, Supervision
from weclick.manifest import Manifest
from weclick.manifest.annotation import annotated
from weclick.manifest.click_table import ClickTable

UNEVEN = 1.5
"""If the paces of one arm differ by more over the seeds, other work ran beside some of its trainings."""


def annotation_seconds(
    manifest: Manifest, clicks: ClickTable, options: AnnotationSection, supervision: Supervision
) -> float | None:
    """Seconds that people take for what a training learns from, at the times of the section `annotation`.

    Args:
        manifest: the training split.
        clicks: on its targets.
        options: seconds of a click, a mask and a frame; without a budget all targets are counted.
        supervision: of the training. That by proxy labels or tags is no annotation of pixels: None.
    """
    if supervision not in ("clicks", "masks", "both"):
        return None
    minutes = math.inf if options["minutes"] is None else options["minutes"]
    unbounded: AnnotationSection = {**options, "minutes": minutes}
    return annotated(manifest, clicks, unbounded, supervision, keep_targets=False).seconds


def paces(figures: Mapping[str, Any]) -> list[float]:
    """Steps a second of each seed of an arm of which they are known, rising.

    Args:
        figures: figure -> its `estimate`.
    """
    known = [figures[name]["values"] for name in ("steps", "train_seconds") if name in figures]
    return (
        sorted(steps / seconds for steps, seconds in zip(*known, strict=True) if steps and seconds)
        if len(known) == 2
        else []
    )


def is_uneven(rising: list[float]) -> bool:
    """Whether equal trainings ran at paces too different for a quiet machine."""
    return len(rising) > 1 and rising[-1] > UNEVEN * rising[0]


def cost_warnings(table: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Sentences on times that must not be compared.

    Args:
        table: arm -> figure -> its `estimate`.
    """
    known = {arm: paces(figures) for arm, figures in table.items()}
    ratios = {arm: found[-1] / found[0] for arm, found in known.items() if is_uneven(found)}
    if ratios:
        worst = max(ratios, key=ratios.__getitem__)
        yield (
            "Do not compare these times: other work ran beside some trainings. Two trainings of one arm, "
            "which differ by their seed alone, differ in pace by a factor of up to "
            f"{ratios[worst]:.1f} ({worst}). It is beyond {UNEVEN:g} for "
            f"{words.plural(len(ratios), 'arm')} of {len(table)}: {', '.join(ratios)}."
        )


def total_words(facts: Mapping[str, Any], origin: Mapping[str, Any], others: str = "teachers") -> str:
    """The sum over all trainings of a data set, and what it means; empty if the summary does not know it.

    Args:
        facts: of the data set.
        origin: of the summary.
        others: the networks that are trained, and not scored.
    """
    if not (told := facts.get("trainings")):
        return ""
    cores = origin.get("machine", {}).get("cores")
    beside = f" on {words.plural(cores, 'core')}" if cores else ""
    took = words.duration(told["seconds"])
    return (
        f"All {words.plural(told['count'], 'training')}, {others} among them, took {took} of wall time in "
        f"sum. Where Snakemake ran two jobs side by side{beside}, they shared the cores: each took longer "
        "than it does alone, and people waited for less than this sum. The time of the processor itself is "
        "not recorded."
    )
