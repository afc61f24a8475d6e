"""What gathering along the flow is worth: IoU, precision and recall over thresholds and lengths of runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from weclick.common.spread import spread_to_ends
from weclick.manifest import IGNORE, Manifest
from weclick.manifest.read import read_label_of
from weclick.proxy_labels.clip_flow import ClipFlow
from weclick.proxy_labels.clip_maps import ClipMaps
from weclick.proxy_labels.f2f import BACKGROUND
from weclick.proxy_labels.gathering import Gathered, How, Leg, gather_legs
from weclick.proxy_labels.grids import to_grid
from weclick.proxy_labels.runs import Chain, chains
from weclick.store import Store

FRAMES = (1, 2, 3, 5, 8)
"""Lengths K of runs: those of the paper's figure 5a."""

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

AT_MOST = 8
"""Labelled frames of a clip that are looked at, spread over it. Neighbours would say the same."""


class Row(NamedTuple):
    """How maps are gathered. Without `warped` they are laid over each other as if nothing moved."""

    aggregate: How
    frames: int
    warped: bool
    threshold: float


class Score(NamedTuple):
    """Each in 0..1; precision is NaN where nothing was found."""

    iou: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Example:
    """The longest run that ends at a frame whose truth is known.

    Attributes:
        maps: T of (C, h, w) floating point in 0..1; the last is of that frame.
        flows: T - 1 of (2, h, w) px of that grid, on each frame after the first, to the one before it.
        truth: (H, W) uint8 class ids of the last frame, 255 ignored.
        class_ids: (C,).
        stride_px: image pixels per cell of the maps.
    """

    maps: Sequence[Tensor]
    flows: Sequence[Tensor]
    truth: np.ndarray
    class_ids: Sequence[int]
    stride_px: int


def gathering_table(
    clips: Iterable[Iterable[Example]],
    *,
    frames: Sequence[int] = FRAMES,
    thresholds: Sequence[float] = THRESHOLDS,
    aggregates: Sequence[How] = ("union", "mean"),
) -> list[dict[str, Any]]:
    """IoU, precision and recall of the regions of classes, mean over frames and classes, then over clips.

    All lengths are compared on the same frames. A class counts on a frame where it occurs.

    Args:
        clips: the examples of each clip, of max(frames) frames each.
        frames: lengths K.
        thresholds: theta, of the maps' own maximum.
        aggregates: ways to gather.

    Returns:
        Rows of all that `Row` and `Score` have, with None where precision is not known, and of `clips`.
    """
    told: dict[Row, list[Score]] = {}
    for examples in clips:
        of_clip: dict[Row, list[Score]] = {}
        for example in examples:
            for row, gathered in _gathered(example, frames, thresholds, aggregates):
                of_clip.setdefault(row, []).extend(_scores(gathered, example))
        for row, scores in of_clip.items():
            if scores:
                told.setdefault(row, []).append(_mean(scores))
    return [_spelled(row, scores) for row, scores in told.items()]


def cam_examples(
    manifest: Manifest,
    cams: Mapping[str, str],
    flow: Mapping[str, str],
    store: Store,
    *,
    gap_frames: int = 1,
    frames: int = max(FRAMES),
    at_most: int = AT_MOST,
) -> Iterator[Iterator[Example]]:
    """Examples of the cached maps of clips whose labels are known, for `gathering_table`.

    Args:
        manifest: with labels of some frames.
        cams, flow: clip id -> key of its maps, and of its flow along the chains of frames.
        store: holds both.
        gap_frames: between the frames of a run.
        frames: length of the longest run.
        at_most: labelled frames of a clip that are looked at.

    Raises:
        InputError: maps or flow are not of these frames and classes.
    """
    for clip in manifest.clips:
        if clip.id in cams and clip.id in flow:
            maps = ClipMaps(clip, store.get("cams", cams[clip.id]), manifest.classes.names)
            along = ClipFlow(clip, store.get("flow", flow[clip.id]), "none", "")
            found = chains(clip, frames=frames, gap_frames=gap_frames)
            labelled = [chain for chain in found if clip.frames[chain.target].label]
            yield _of_chains(manifest, maps, along, spread_to_ends(labelled, at_most))


def _of_chains(
    manifest: Manifest, maps: ClipMaps, flow: ClipFlow, found: Iterable[Chain]
) -> Iterator[Example]:
    for chain in found:
        truth = read_label_of(manifest, maps.clip, maps.clip.frames[chain.target])
        ids = [k for k in maps.class_ids if k != BACKGROUND and (truth == k).any()]
        if ids:
            yield Example(
                [maps.of(t, ids) for t in chain.positions],
                [flow.between(*pair, maps.stride_px)[0][0] for pair in chain.pairs],
                truth,
                ids,
                maps.stride_px,
            )


def _gathered(
    example: Example, frames: Sequence[int], thresholds: Sequence[float], aggregates: Sequence[How]
) -> Iterator[tuple[Row, Gathered]]:
    for length, warped in product(frames, (True, False)):
        if length == 1 and not warped:
            continue
        flows = list(example.flows)[len(example.flows) + 1 - length :]
        flows = flows if warped else [torch.zeros_like(flow) for flow in flows]
        leg = Leg(list(example.maps)[-length:], flows, [])
        for aggregate in aggregates:
            found = gather_legs([leg], aggregate, threshold=thresholds[0])
            for threshold in thresholds:
                if aggregate == "union":  # which is of masks, cut before they are gathered
                    found = gather_legs([leg], aggregate, threshold=threshold)
                else:
                    found = found._replace(cut=threshold)
                yield Row(aggregate, length, warped, threshold), found


def _scores(gathered: Gathered, example: Example) -> list[Score]:
    """Of each class that occurs."""
    size, counted = example.truth.shape, example.truth != IGNORE
    found = (to_grid(gathered.levels[None], size, example.stride_px, 1)[0] > gathered.cut).numpy()
    told = []
    for region, k in zip(found, example.class_ids, strict=True):
        truth = example.truth == k
        true_px, found_px, hit_px = truth.sum(), (region & counted).sum(), (region & truth).sum()
        if true_px:
            precision = hit_px / found_px if found_px else np.nan
            told.append(Score(hit_px / (found_px + true_px - hit_px), precision, hit_px / true_px))
    return told


def _mean(scores: Sequence[Score]) -> Score:
    """Means over what is known."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of nothing found at all
        return Score(*np.nanmean(np.asarray(scores, np.float64), 0).tolist())


def _spelled(row: Row, scores: Sequence[Score]) -> dict[str, Any]:
    mean = {name: None if np.isnan(value) else value for name, value in _mean(scores)._asdict().items()}
    return {**row._asdict(), **mean, "clips": len(scores)}
