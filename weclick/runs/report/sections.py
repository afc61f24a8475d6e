"""The parts of the page that are words, numbers and charts. Each function returns what the template shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import yaml

from weclick.common import words
from weclick.common.errors import InputError
from weclick.common.sections import Config
from weclick.common.stages import takes
from weclick.evaluate.scored import (
    crf_words,
    target_scores,
)
from weclick.manifest import Manifest
from weclick.runs.report import held_out, provenance
from weclick.runs.report.figures import Curve, confusion_chart, curve_chart, dots_chart
from weclick.runs.report.results import ROLES, Results
from weclick.runs.report.target_gallery import motion_rows
from weclick.runs.teachers import labels_words
from weclick.store import Store
from weclick.train import terms as loss_terms
from weclick.train.objective import AUXILIARY


def run(results: Results, config: Config, store: Store) -> dict[str, Any]:
    """Models, configuration, and their origin."""
    options = {role: card.get("options", {}) for role, card in results.models.items()}
    rows = {
        "Architecture": {role: option.get("architecture", words.DASH) for role, option in options.items()},
        "Backbone": {role: option.get("backbone", words.DASH) for role, option in options.items()},
        "Width of the head": {role: words.count(option.get("channels")) for role, option in options.items()},
        "Parameters": _of_cards(results, "parameters", words.count),
        "Training steps": _of_cards(results, "steps", words.count),
        "Training time": _of_cards(results, "train_seconds", words.duration),
        "Waited for data": {
            role: f"{words.percent(_mean_wait(results.curves[role]))} %" for role in results.models
        },
        **motion_rows(config),
        **_on_targets(results),
        **_after_crf(results),
        "Seed": _of_cards(results, "seed", words.count),
        "Trained with": provenance.producers(results, store),
    }
    return {
        "roles": list(results.models),
        "labels": labels_words(config) if takes(config, "soft_labels") else "",
        "rows": rows,
        "changed": provenance.changed(config),
        "versions": provenance.versions(),
        "digests": provenance.digests(results, config),
        "costs": provenance.costs(results.folder),
        "config": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=90),
    }


def data(results: Results) -> dict[str, Any]:
    """Clips, frames and targets of both splits; and clicks of every class."""
    counts = results.clicks.counts()
    classes = zip(results.train.classes.names, results.train.classes.palette, counts.tolist(), strict=True)
    largest = max(int(counts.max()), 1)
    return {
        "splits": [_split(manifest) for manifest in (results.train, results.val)],
        "classes": [
            {"name": name, "color": _css(color), "clicks": words.count(n), "share": n / largest}
            for name, color, n in classes
        ],
        "clicks": words.plural(len(results.clicks), "click"),
        "clicks_a_target": f"{len(results.clicks) / max(_targets(results.train), 1):.1f}",
        "clicked_share": f"{100 * _clicked_share(results):.2g}",
        "without_click": [name for name, n in zip(results.train.classes.names, counts, strict=True) if not n],
    }


def training(results: Results) -> dict[str, Any]:
    """Curves of the loss, of the score on the validation split, and of the terms of the loss."""
    loss, miou = curves(results, "loss"), curves(results, "validation", "miou")
    clicks = curves(results, "validation", "click_accuracy")
    miou, clicks = (found if _is_a_line(found) else {} for found in (miou, clicks))
    charts, terms = [], []
    if loss:
        svg = curve_chart(loss, name="loss", alt="Loss over training steps")
        charts.append(("Loss", svg))
    if miou:
        svg = curve_chart(miou, name="miou", alt="Validation mIoU over training steps", percent=True)
        charts.append(("mIoU in validation", svg))
    if clicks:
        alt = "Share of held-out clicks hit in validation, over training steps"
        svg = curve_chart(clicks, name="clicks", alt=alt, percent=True)
        charts.append(("Held-out clicks hit in validation", svg))
    for term, title in titles().items():
        if found := curves(results, "terms", term):
            terms.append((title, curve_chart(found, name=term, alt=f"{title} over training steps")))
    return {"charts": charts, "terms": terms, "validated": bool(miou or clicks)}


def _is_a_line(found: Mapping[str, Curve]) -> bool:
    """Whether some network was scored more than once: a lone dot, after the last step, shows no training."""
    return any(len(steps) > 1 for steps, _ in found.values())


def titles() -> dict[str, str]:
    """Name of a term in metrics.jsonl -> its title; those of an auxiliary head come last."""
    own = {term.name: term.title for term in loss_terms.TERMS}
    return own | {f"{AUXILIARY}{name}": f"{title} of the auxiliary head" for name, title in own.items()}


def classes(results: Results) -> dict[str, Any]:
    """IoU of every class, teacher beside student, and the student's confusion matrix."""
    student, teacher = (results.scores(role).get("per_class_iou", {}) for role in ROLES)
    by_mask = any(map(words.known, student.values())) or not held_out.table(results)
    names, palette = results.val.classes.names, results.val.classes.palette
    rows = [
        {
            "name": name,
            "color": _css(color),
            "iou": {role: values.get(name) for role, values in (("student", student), ("teacher", teacher))},
            "difference": words.points(_difference(student.get(name), teacher.get(name))),
        }
        for name, color in zip(names, palette, strict=True)
    ]
    counts = results.evaluation.get("confusion_matrix")
    if counts and (len(counts), {*map(len, counts)} - {len(names), len(names) + 1}) != (len(names), set()):
        raise InputError(
            f"{results.layout.scores}: its confusion_matrix is not of {len(names)} "
            "classes; the file is from another run, or was edited: run the stage evaluate again"
        )
    alt = "Confusion matrix of the student: share of each true class by predicted class, in per cent"
    found = np.array(counts or 0)
    chart = confusion_chart(found, names, name="confusion", alt=alt) if found.any() else None
    return {"rows": rows if by_mask else [], "has_teacher": bool(teacher), "confusion": chart}


def ablation(results: Results) -> dict[str, Any] | None:
    """What each loss adds, as mean and spread over seeds; None if no ablation was run."""
    summary = results.ablation
    if summary is None:
        return None
    variants = summary["variants"]
    miou = {name: _over_spread(variant["miou"]) for name, variant in variants.items()}
    return {
        "seeds": words.plural(len(summary["seeds"]), "seed"),
        "note": summary.get("note", ""),
        "rows": [
            {
                "name": name,
                "description": variant.get("description", ""),
                "scores": [
                    words.spread(variant.get(key))
                    for key in ("miou", "mean_accuracy", "temporal_consistency")
                ],
                "steps": words.spread({**variant.get("steps", {}), "spread": None}, words.count),
                "seconds": words.spread({**variant.get("train_seconds", {}), "spread": None}, words.duration),
            }
            for name, variant in variants.items()
        ],
        "chart": dots_chart(miou, name="ablation", alt="mIoU of every variant, a dot for each seed"),
    }


def _over_spread(score: Mapping[str, Any]) -> dict[str, Any]:
    """A score of the ablation with the ends of its spread around the mean, None if they are not known."""
    mean, spread = score["mean"], score["spread"]
    known = words.known(mean) and words.known(spread)
    return {**score, "low": mean - spread if known else None, "high": mean + spread if known else None}


def _of_cards(results: Results, key: str, style: Any) -> dict[str, str]:
    return {
        role: words.DASH if card.get(key) is None else style(card[key])
        for role, card in results.models.items()
    }


def _on_targets(results: Results) -> dict[str, dict[str, str]]:
    """Rows of what is known of the networks on the frames that they learned from."""
    scores = {role: target_scores(results.scores(role)) for role in results.models}
    return {
        what.replace("clicks", "Clicks"): {
            role: f"{words.percent(found.get(what))} %" for role, found in scores.items()
        }
        for what in dict.fromkeys(what for found in scores.values() for what in found)
    }


def _after_crf(results: Results) -> dict[str, dict[str, str]]:
    """A row of the scores after the dense CRF, if the evaluation was asked for them."""
    told = {role: crf_words(results.scores(role)) or words.DASH for role in results.models}
    return {"After a dense CRF": told} if {*told.values()} != {words.DASH} else {}


def _mean_wait(lines: Iterable[Mapping[str, Any]]) -> float | None:
    shares = [line["data_wait_share"] for line in lines if words.known(line.get("data_wait_share"))]
    return float(np.mean(shares)) if shares else None


def _split(manifest: Manifest) -> dict[str, str]:
    sizes = sorted({clip.size for clip in manifest.clips})
    return {
        "name": manifest.split,
        "clips": words.count(len(manifest.clips)),
        "frames": words.count(sum(len(clip.frames) for clip in manifest.clips)),
        "targets": words.count(_targets(manifest)),
        "scored": words.count(scored_frames(manifest)),
        "size": words.size(sizes[0]) if len(sizes) == 1 else f"{len(sizes)} sizes",
    }


def _targets(manifest: Manifest) -> int:
    return sum(len(clip.targets) for clip in manifest.clips)


def scored_frames(manifest: Manifest) -> int:
    """Number of the frames that are scored."""
    return sum(len(clip.scored) for clip in manifest.clips)


def _clicked_share(results: Results) -> float:
    """The share of the targets' pixels that carry a click."""
    pixels = sum(clip.height_px * clip.width_px * len(clip.targets) for clip in results.train.clips)
    return len(results.clicks) / max(pixels, 1)


def _css(color: Iterable[int]) -> str:
    return f"rgb({' '.join(map(str, color))})"


def curves(results: Results, *keys: str) -> dict[str, Curve]:
    """Role -> steps and values of the lines that have the (nested) keys; roles without any are left out."""
    found: dict[str, Curve] = {}
    for role, lines in results.curves.items():
        logged = [line for line in lines if _nested(line, keys) is not None]
        if logged:
            found[role] = [line["step"] for line in logged], [_nested(line, keys) for line in logged]
    return found


def _nested(line: Mapping[str, Any], keys: Iterable[str]) -> Any:
    value: Any = line
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _difference(student: float | None, teacher: float | None) -> float | None:
    return None if student is None or teacher is None else student - teacher
