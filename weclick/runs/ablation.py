"""A small version of the ablation in the paper's Table 4: what each loss adds, over several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

from weclick.common import stages, words
from weclick.common.files import read_json, write_text
from weclick.common.sections import Selection
from weclick.common.strict_json import strict_json
from weclick.runs.layout import SUMMARY, Layout

VARIANTS: dict[str, tuple[str, dict[Literal["kd", "mfd"], float]]] = {
    "weakly": ("clicks and Gated CRF alone", {"kd": 0.0, "mfd": 0.0}),
    "weakly_same_time": (
        "clicks and Gated CRF alone, for the wall time of kd_mfd",
        {"kd": 0.0, "mfd": 0.0},
    ),
    "kd": ("plus the teacher's soft labels", {"mfd": 0.0}),
    "kd_mfd": ("plus memory-flow distillation: the whole of Eq. 5", {}),
}
"""name -> (description, the weights of losses that it changes)."""

SCORES = ("miou", "mean_accuracy", "pixel_accuracy", "temporal_consistency", "train_seconds", "steps")


def variant_config(config: Selection, variant: str) -> Selection:
    """The student's part of the configuration, for one variant of the ablation.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(VARIANTS)}")
    changed = deepcopy(config)
    for loss, weight in VARIANTS[variant][1].items():
        changed[loss]["weight"] = weight
    return changed


def steps_for_seconds(card: Mapping[str, Any], seconds: float) -> int:
    """Number of steps that a training runs in `seconds`, at the pace of its model card."""
    return max(1, round(card["steps"] * seconds / card["train_seconds"]))


def summarise_variant(folder: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Mean, spread and values of a variant's scores over its seeds.

    Args:
        folder: holds `<seed>/evaluation/metrics.json` and `<seed>/model.json`.
        seeds: the ones to read.

    Returns:
        score -> {"mean", "spread", "values"}; the spread is the sample standard deviation, None for one seed.
    """
    runs = []
    for seed in seeds:
        run = folder / str(seed)
        metrics = read_json(Layout(run).scores, "evaluate", stages.SCORES)
        card = read_json(run / stages.CARD, "student", stages.CARD)
        runs.append({**metrics, **{name: card[name] for name in ("train_seconds", "steps")}})
    return {name: _spread([run[name] for run in runs]) for name in SCORES}


def summarise(folder: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """The ablation as one table: every variant's summary beside the teacher's."""
    variants = {
        name: {"description": description, **summarise_variant(folder / name, seeds)}
        for name, (description, _) in VARIANTS.items()
    }
    teacher = {
        "description": "the large net on clicks",
        **summarise_variant(folder / "teacher", seeds),
    }
    return {
        "seeds": list(seeds),
        "variants": {"teacher": teacher, **variants},
        "note": "Mean and sample standard deviation over seeds. Differences within the spread are noise.",
    }


def write_summary(folder: Path, seeds: Sequence[int]) -> None:
    """Write `summarise` into the folder of an ablation, and each variant's part into the variant's folder."""
    summary = summarise(folder, seeds)
    for name, scores in summary["variants"].items():
        write_text(folder / name / stages.SCORES, strict_json(scores, indent=1) + "\n")
    write_text(folder / SUMMARY, strict_json(summary, indent=1) + "\n")


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None and words.known(value)]
    return {
        "mean": mean(known) if known else None,
        "spread": stdev(known) if len(known) > 1 else None,
        "values": list(values),
    }
