"""The parts of the page that are pictures: clicks, flow, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from weclick.clicks.people import Points
from weclick.common import words
from weclick.common.errors import InputError
from weclick.common.spread import spread_over
from weclick.common.stages import SCORED
from weclick.evaluate.held_out import held_out_clicks
from weclick.manifest import Clip, Manifest
from weclick.manifest.images import read_ids
from weclick.manifest.read import read_clip, read_label
from weclick.runs.report.flow_color import flow_to_rgb, legend_scale, wheel_legend
from weclick.runs.report.pictures import Picture, draw_clicks, fit, overlay, picture
from weclick.runs.report.results import Results, require
from weclick.store import Entry, Store
from weclick.store.flow_entries import checked_stride, grid_flow, stored_pairs

MAX_EXAMPLES = 12
"""Rows of predictions at most, so that the page stays small."""

TRUTH = "truth"
"""What stands below a picture of the label."""

MARKS = 12
"""At most so many marks show a scribble in a picture."""

Captioned = tuple[Picture, str]


@dataclass(frozen=True)
class FlowPair:
    """A flow of the store: (2, h, w) float32 px of the frame on its stride grid, NaN where masked out."""

    clip: Clip
    target: int
    neighbour: int
    flow: np.ndarray
    stride_px: int
    masks: tuple[str, ...]

    def names(self) -> tuple[str, str]:
        """Names of target and neighbour."""
        return self.clip.frames[self.target].name, self.clip.frames[self.neighbour].name


def click_gallery(results: Results, at_most: int) -> list[Captioned]:
    """Some targets with their clicks, each with a caption, spread over the training split."""
    targets = [
        (clip, t)
        for clip in results.train.clips
        for t in clip.targets
        if len(results.clicks.of(clip.id, clip.frames[t].name))
    ]
    shown = []
    for clip, t in spread_over(targets, at_most):
        points = results.clicks.of(clip.id, clip.frames[t].name)
        image = frames_of(results.train, clip, t)[t]
        numbers = results.clicks.scribbles.get((clip.id, clip.frames[t].name))
        marked = draw_clicks(image, _thinned(points, numbers), results.train.classes.palette)
        clicks = len(results.clicks.class_ids(clip.id, clip.frames[t].name))
        caption = f"{clip.id} · {clip.frames[t].name} · {words.plural(clicks, 'click')}"
        shown.append((picture(marked, f"Target frame with its clicks: {caption}"), caption))
    return shown


def _thinned(points: np.ndarray, scribbles: np.ndarray | None) -> np.ndarray:
    """Clicks, and of each scribble some pixels, so that the picture shows its line."""
    if scribbles is None:
        return points
    kept = [*np.flatnonzero(scribbles == 0)]
    for number in range(1, scribbles.max() + 1):
        kept += spread_over(np.flatnonzero(scribbles == number).tolist(), MARKS)
    return points[kept]


def flow_gallery(results: Results, store: Store, at_most: int) -> dict[str, Any] | None:
    """Some pairs with their flow in colours; None if no clip has a neighbour in reach.

    Raises:
        EntryMissingError: the index names an entry that the store lacks.
    """
    for manifest, keys in (
        (results.train, _of_training(results)),
        (results.val, results.flow.get(results.val.split, {})),
    ):
        pairs = _choose_pairs([clip for clip in manifest.clips if clip.id in keys], keys, store, at_most)
        if pairs:
            max_px = legend_scale(pair.flow for pair in pairs)
            wheel = picture(wheel_legend(), "Colour wheel: the direction and length that a colour stands for")
            rows = [_flow_row(manifest, pair, max_px) for pair in pairs]
            return {
                "rows": rows,
                "wheel": wheel,
                "max_px": f"{max_px:g}",
                "split": manifest.split,
                "masks": list(dict.fromkeys(name for pair in pairs for name in pair.masks)),
            }
    return None


def _of_training(results: Results) -> Mapping[str, str]:
    """Clip id -> key of the flow that the training split was made for."""
    step = results.instances.step if results.instances else {}
    return results.chain or step or results.flow.get(results.train.split, {})


def prediction_gallery(results: Results) -> dict[str, Any]:
    """Frame, truth or clicks, and predictions of the networks, for the examples that the evaluation kept."""
    examples = results.evaluation.get("examples", [])
    held_out = held_out_clicks(results.val)
    rows = [_prediction_row(results, held_out, example) for example in spread_over(examples, MAX_EXAMPLES)]
    has_truth = any(told == TRUTH for row in rows for _, told in row)
    return {"rows": rows, "left_out": len(examples) - len(rows), "has_truth": has_truth}


def _choose_pairs(clips: Sequence[Clip], keys: Mapping[str, str], store: Store, count: int) -> list[FlowPair]:
    """`count` pairs, spread over the clips; several from each clip if there are fewer clips."""
    chosen = spread_over(clips, count)
    pairs = []
    for clip in chosen:
        entry = store.get("flow", keys[clip.id])
        indices = range(len(stored_pairs(entry, clip)))
        pairs += [_read_pair(clip, entry, i) for i in spread_over(indices, -(-count // len(chosen)))]
    return pairs[:count]


def _read_pair(clip: Clip, entry: Entry, index: int) -> FlowPair:
    stride_px = checked_stride(entry, clip.size)
    flow, valid = grid_flow(entry, index)
    flow = np.where(valid, flow * stride_px, np.nan)
    return FlowPair(
        clip, *stored_pairs(entry, clip)[index], flow, stride_px, tuple(entry.attributes["masks"])
    )


def _flow_row(manifest: Manifest, pair: FlowPair, max_px: float) -> list[Captioned]:
    images = frames_of(manifest, pair.clip, pair.target, pair.neighbour)
    target, neighbour = pair.names()
    height, width = pair.clip.size
    grid = Image.fromarray(flow_to_rgb(pair.flow, max_px=max_px))
    size = grid.width * pair.stride_px, grid.height * pair.stride_px
    colors = np.asarray(grid.resize(size, Image.Resampling.BILINEAR))[:height, :width]
    lengths = np.hypot(*pair.flow)
    trusted = np.isfinite(lengths)
    median = f"{np.median(lengths[trusted]):.1f} px" if trusted.any() else words.DASH
    told = f"flow · median {median} · {100 * trusted.mean():.0f} % valid"
    where = f"of {pair.clip.id}"
    return [
        (
            picture(fit(images[pair.target]), f"Target frame {target} {where}"),
            f"{pair.clip.id} · target {target}",
        ),
        (picture(fit(images[pair.neighbour]), f"Neighbour {neighbour} {where}"), f"neighbour {neighbour}"),
        (picture(fit(colors), f"Flow from {target} to {neighbour} {where}, as colours"), told),
    ]


def _prediction_row(results: Results, held_out: Points, example: Mapping[str, str]) -> list[Captioned]:
    val, palette = results.val, results.val.classes.palette
    clip, t = example_frame(results, example["clip"], example["frame"])
    frame, where = clip.frames[t], f"{clip.id}, frame {clip.frames[t].name}"
    image = frames_of(val, clip, t)[t]
    row = [(picture(fit(image), where), f"{clip.id} · {frame.name}")]
    if frame.label is not None:
        truth = overlay(image, read_label(val, frame), palette)
        row.append((picture(truth, f"True classes of {where}"), TRUTH))
    elif (clicks := held_out.get((clip.id, frame.name))) is not None:
        marked = draw_clicks(image, clicks, palette)
        row.append((picture(marked, f"Held-out clicks of {where}"), "held-out clicks"))
    for role in SCORED:
        if role in example:
            path = require(results.layout.of("evaluate") / example[role], "evaluate")
            predicted = overlay(image, read_ids(path), palette)
            row.append((picture(predicted, f"Classes that the {role} sees in {where}"), role))
    return row


def example_frame(results: Results, clip_id: str, name: str) -> tuple[Clip, int]:
    """Clip and position of a frame that the evaluation kept as an example.

    Raises:
        InputError: the scored split has no such frame.
    """
    for clip in results.val.clips:
        if clip.id == clip_id:
            for t, frame in enumerate(clip.frames):
                if frame.name == name:
                    return clip, t
    raise InputError(
        f"{results.layout.scores}: has an example of clip {clip_id!r}, frame {name!r}, but split "
        f"{results.val.split!r} lacks it; the file is from another run: run the stage evaluate again"
    )


def frames_of(manifest: Manifest, clip: Clip, *positions: int) -> dict[int, np.ndarray]:
    """Position -> frame of a clip, (H, W, 3) uint8 RGB, from image files or from a video."""
    ordered = sorted(set(positions))
    return dict(zip(ordered, read_clip(manifest, clip.restrict(ordered)), strict=True))
