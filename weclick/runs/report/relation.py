"""The part of the page on relations: what maps are sure of, and edges and displacements learned from it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from weclick.common import words
from weclick.common.spread import spread_over
from weclick.manifest import IGNORE, Clip
from weclick.models.build import RELATION
from weclick.proxy_labels.proxy_labels import read_proxy_labels
from weclick.runs.report.figures import curve_chart
from weclick.runs.report.flow_color import legend_scale, wheel_legend
from weclick.runs.report.gallery import Captioned, frames_of
from weclick.runs.report.pictures import fit, hatched, picture, ramp
from weclick.runs.report.relation_pictures import displacement_picture, edge_picture, relations_of
from weclick.runs.report.results import InstanceResults, Results, require
from weclick.store import Entry, Store
from weclick.store.model_file import load_model

WIDTH_PX = 420
"""Of a picture: four stand side by side."""

MOTIONS = {
    "raw": "Maps were amplified where the flow is fast.",
    "residual": "Maps were amplified where something moves beside the camera.",
}
"""`fcam.motion` -> what was done to the maps."""

Place = tuple[Clip, int, np.ndarray]
"""A clip, a position in its frames, and the confident label there."""


def section(results: Results, config: Mapping[str, Any], store: Store, at_most: int) -> dict[str, Any] | None:
    """Some training frames with their confident labels, and what the network of relations sees in them.

    Returns:
        What the template shows; None if the run trains no such network.

    Raises:
        EntryMissingError: the index names an entry that the store lacks.
        InputError: an entry is of other frames, or the network cannot be read.
    """
    found = results.instances
    if found is None or found.relation is None:
        return None
    entries = _entries(results, found, store)
    places = [(*each, n) for each in entries for n in range(len(each[1].attributes["digests"]))]
    told: dict[str, Any] = {
        "maker": _maker(found.relation),
        "motion": MOTIONS.get(config["fcam"]["motion"], ""),
        "labelled": words.plural(len(places), "frame"),
        "loss": _loss(found),
        "rows": [],
    }
    if not places:
        return told
    shown = []
    for clip, entry, n in spread_over(places, at_most):
        shown += [(clip, t, label) for t, label in islice(read_proxy_labels(entry, clip), n, n + 1)]
    return told | _pictures(results, shown)


def _entries(results: Results, found: InstanceResults, store: Store) -> list[tuple[Clip, Entry]]:
    made = found.confident_labels
    clips = [clip for clip in results.train.clips if clip.id in made]
    return [(clip, store.get("confident_labels", made[clip.id])) for clip in clips]


def _maker(card: Mapping[str, Any]) -> str:
    backbone = card.get("options", {}).get("backbone", words.DASH)
    return f"{backbone}, {words.count(card.get('steps'))} steps, {words.duration(card.get('train_seconds'))}"


def _pictures(results: Results, shown: list[Place]) -> dict[str, Any]:
    path = require(results.layout.weights("relation"), "relation")
    network, _ = load_model(path, classes=results.train.classes.names, architectures=[RELATION])
    images = [frames_of(results.train, clip, t)[t] for clip, t, _ in shown]
    seen = [relations_of(network, image) for image in images]
    max_px = legend_scale(moved for _, moved in seen)
    stride_px = network.stride
    assert isinstance(stride_px, int)
    return {
        "rows": [
            _row(results, place, image, relations, stride_px, max_px)
            for place, image, relations in zip(shown, images, seen, strict=True)
        ],
        "wheel": picture(wheel_legend(), "Colour wheel: direction and length of displacements"),
        "max_px": f"{max_px:g}",
        "scale": ramp("Colours of edges, from none to sure"),
        "first": int(results.train.classes.has_background),
    }


def _row(
    results: Results,
    place: Place,
    image: np.ndarray,
    relations: tuple[np.ndarray, np.ndarray],
    stride_px: int,
    max_px: float,
) -> list[Captioned]:
    clip, t, label = place
    edges, moved = relations
    name = clip.frames[t].name
    where = f"frame {name} of {clip.id}"
    share = f"{100 * (label == IGNORE).mean():.0f} % unlabelled"
    length = f"median {np.median(np.hypot(*moved)):.1f} px"
    sure = hatched(image, label, results.train.classes.palette)
    colors = displacement_picture(moved, clip.size, stride_px, max_px=max_px, width_px=WIDTH_PX)
    return [
        _item(fit(image, width_px=WIDTH_PX), where.capitalize(), f"{clip.id} · {name}"),
        _item(fit(sure, width_px=WIDTH_PX), f"Confident label of {where}, {share}", f"sure of · {share}"),
        _item(edge_picture(edges, clip.size, stride_px, WIDTH_PX), f"Edges seen in {where}", "edges"),
        _item(colors, f"Displacements in {where}, {length}", f"displacements · {length}"),
    ]


def _item(pixels: np.ndarray, alt: str, caption: str) -> Captioned:
    return picture(pixels, alt), caption


def _loss(found: InstanceResults) -> str | None:
    lines = [line for line in found.relation_curve if "loss" in line]
    if not lines:
        return None
    curve = [line["step"] for line in lines], [line["loss"] for line in lines]
    alt = "Loss of the network of relations over training steps"
    return curve_chart({"student": curve}, name="relation-loss", alt=alt)
