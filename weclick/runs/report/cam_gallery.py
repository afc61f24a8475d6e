"""The part of the page on class activation maps: where a classifier sees the tagged classes of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weclick.common import words
from weclick.common.config_checks import map_sources
from weclick.common.sections import CamsSection, Config
from weclick.common.spread import spread_over
from weclick.manifest import Clip
from weclick.proxy_labels.clip_maps import ClipMaps
from weclick.proxy_labels.grids import to_grid
from weclick.runs.report.figures import curve_chart
from weclick.runs.report.gallery import Captioned, frames_of
from weclick.runs.report.pictures import fit, heat, picture
from weclick.runs.report.results import Results
from weclick.store import Store

STEPS = 5
"""Frames of a clip."""

MAKERS = {
    "imagenet": "The maps are those of a network that knows ImageNet's classes; none was trained for them.",
    "iconic": "The maps are those of a frozen network that tells images of one class each apart.",
}
"""`cams.source` -> what makes the maps, where it is not the run's classifier."""

WIDTH_PX = 320
"""Of a picture: five stand side by side."""


def cam_gallery(results: Results, config: Config, store: Store, at_most: int) -> dict[str, Any] | None:
    """A strip for each of some clips: frames under the maps of their tagged classes.

    Returns:
        What the template shows; None if the run takes no maps.

    Raises:
        EntryMissingError: the index names an entry that the store lacks.
        InputError: an entry is of other frames.
    """
    clips = [clip for clip in results.train.clips if clip.id in results.cams]
    if not clips:
        return None
    return {
        "rows": [_strip(results, clip, store) for clip in spread_over(clips, at_most)],
        "clips": words.plural(len(clips), "clip"),
        "maker": _maker(results, config["cams"]),
        "first": int(results.train.classes.has_background),
        "loss": _loss(results),
    }


def _strip(results: Results, clip: Clip, store: Store) -> list[Captioned]:
    names, palette = results.train.classes.names, results.train.classes.palette
    maps = ClipMaps(clip, store.get("cams", results.cams[clip.id]), names)
    tags = results.tags.of_clip(clip.id) if results.tags else frozenset()
    shown = [k for k in maps.class_ids if k in tags] or list(maps.class_ids)
    scores, steps = maps.scores(), spread_over(range(len(clip.frames)), STEPS)
    images = frames_of(results.train, clip, *steps)
    strip = []
    for t in steps:
        drawn = heat(images[t], _full(maps, t, shown), [palette[k] for k in shown])
        name, told = clip.frames[t].name, _told(names, scores[t], shown)
        alt = f"Where {_are(names, shown)} in frame {name} of {clip.id}: {told}"
        strip.append((picture(fit(drawn, width_px=WIDTH_PX), alt), f"{clip.id} · {name} · {told}"))
    return strip


def _full(maps: ClipMaps, position: int, shown: Sequence[int]) -> np.ndarray:
    """(C, H, W) maps of a frame at its size."""
    if not shown:
        return np.zeros((0, *maps.clip.size), np.float32)
    return to_grid(maps.of(position, shown)[None], maps.clip.size, maps.stride_px, 1)[0].numpy()


def _are(names: Sequence[str], shown: Sequence[int]) -> str:
    if not shown:
        return "no class is seen"
    return f"{' and '.join(names[k] for k in shown)} {'is' if len(shown) == 1 else 'are'}"


def _told(names: Sequence[str], scores: np.ndarray, shown: Sequence[int]) -> str:
    return ", ".join(f"{names[k]} {scores[k]:.2f}" for k in shown) or "no class has a map"


def _maker(results: Results, section: CamsSection) -> str:
    """What makes the maps, as sentences."""
    makers, own = map_sources(section), section["sources"]
    told = [_learned(results, results.classifier)] if results.classifier else []
    told += [sentence for source, sentence in MAKERS.items() if source in makers]
    if own:
        told.append(f"By class: {', '.join(f'{name} {source}' for name, source in own.items())}.")
        told.append(f"The other classes: {section['source']}.")
    return " ".join(told)


def _learned(results: Results, card: Mapping[str, Any]) -> str:
    precision = [line["validation"] for line in results.classifier_curve if "validation" in line]
    told = (
        f"A classifier ({card.get('options', {}).get('backbone', words.DASH)}) learned the tags in "
        f"{words.count(card.get('steps'))} steps and {words.duration(card.get('train_seconds'))}"
    )
    if precision and words.known(score := precision[-1].get("mean_average_precision")):
        told += f"; its mean average precision in validation is {words.percent(score)} %"
    return f"{told}."


def _loss(results: Results) -> str | None:
    lines = [line for line in results.classifier_curve if "loss" in line]
    if not lines:
        return None
    curve = [line["step"] for line in lines], [line["loss"] for line in lines]
    alt = "Loss of the classifier over training steps"
    return curve_chart({"student": curve}, name="classifier-loss", alt=alt)
