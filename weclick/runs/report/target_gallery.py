"""The part of the page on targets: the frame, where each class is seen in it, and the flow around it."""

from __future__ import annotations

from typing import Any

import numpy as np

from weclick.common.sections import Config
from weclick.common.stages import looks_at_maps, looks_at_stacks
from weclick.geometry import StackOptions
from weclick.runs.report.flow_color import flow_to_rgb, legend_scale, wheel_legend
from weclick.runs.report.gallery import Captioned, frames_of
from weclick.runs.report.pictures import fit, picture, tinted
from weclick.runs.report.results import Results
from weclick.runs.report.targets import Target, read_targets
from weclick.runs.stack_words import place, stack_words
from weclick.store import Store

WIDTH_PX = 320
"""Of a picture: five stand side by side."""


def target_gallery(results: Results, config: Config, store: Store, at_most: int) -> dict[str, Any] | None:
    """Some training targets, as the student gets them.

    Returns:
        What the template shows; None if the student neither learns from maps nor looks at flow.

    Raises:
        EntryMissingError: an index names an entry that the store lacks.
        InputError: an entry is of other frames.
    """
    targets = read_targets(results, config, store, at_most)
    if not targets:
        return None
    stack = _stack(config)
    max_px = legend_scale(flow for each in targets if each.flows is not None for flow in each.flows)
    return {
        "rows": [_row(results, target, stack.first, max_px) for target in targets],
        "seen": _seen_where(results, config) if looks_at_maps(config) else "",
        "stack": stack_words(stack) if looks_at_stacks(config) else "",
        "wheel": picture(wheel_legend(), "Colour wheel: direction and length of the flow in a stack"),
        "max_px": f"{max_px:g}",
    }


def motion_rows(config: Config) -> dict[str, dict[str, str]]:
    """Rows of what a student looks at beside the frame, if it has two streams."""
    if not looks_at_stacks(config):
        return {}
    student = config["student"]
    stack = _stack(config)
    fused = f"{student['fusion']}, score maps joined by {student['late_fusion'].replace('_', ' ')}"
    return {"Looks at": {"student": stack_words(stack)}, "Fusion of the streams": {"student": fused}}


def _stack(config: Config) -> StackOptions:
    return StackOptions(**config["stack"], motion=config["flow"]["motion"])


def _seen_where(results: Results, config: Config) -> str:
    """When a class counts as seen, as sentences."""
    section = config["heatmap_loss"]
    rest = "A cell that stays grey belongs to no class."
    if section["background"] == "complement" and results.train.classes.has_background:
        rest = "The background is where no other class is seen."
    part = f"{section['threshold']:g} of its maximum in the frame"
    return f"A class is seen where its map exceeds {part}. {rest}"


def _row(results: Results, target: Target, first: int, max_px: float) -> list[Captioned]:
    clip, name = target.clip, target.clip.frames[target.position].name
    image = frames_of(results.train, clip, target.position)[target.position]
    row = [_item(image, f"Target {name} of {clip.id}", f"{clip.id} · {name}")]
    if target.seen is not None:
        drawn = tinted(image, target.seen_pixels(), results.train.classes.palette)
        told = _shares(target.seen, results.train.classes.names)
        row.append(_item(drawn, f"Where classes are seen in {name} of {clip.id}: {told}", f"seen: {told}"))
    if target.flows is None:
        return row
    for step in _shown(len(target.flows), first):
        told = f"flow from frame {place(first + step)} to {place(first + step + 1)}"
        colors = flow_to_rgb(target.flows[step], max_px=max_px)
        row.append(_item(colors, f"The stack's {told}, around {name} of {clip.id}", told))
    return row


def _shown(length: int, first: int) -> list[int]:
    """The flows of a stack that are drawn: its ends, and the one that begins at the target."""
    return sorted({0, min(max(-first, 0), length - 1), length - 1})


def _shares(seen: np.ndarray, names: tuple[str, ...]) -> str:
    shares = zip(names, seen.mean((1, 2)), strict=True)
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares if share) or "nothing"


def _item(pixels: np.ndarray, alt: str, caption: str) -> Captioned:
    return picture(fit(pixels, width_px=WIDTH_PX), alt), caption
