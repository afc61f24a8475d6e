"""The part of the page on what it is worth to join maps along the flow, where truth says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weclick.common import words
from weclick.common.sections import Config
from weclick.common.spread import spread_over
from weclick.evaluate.proxies import FRAMES, THRESHOLDS, cam_examples, gathering_table
from weclick.manifest import Clip
from weclick.proxy_labels.runs import chains
from weclick.runs.report.figures import lines_chart
from weclick.runs.report.results import Results
from weclick.store import Store

EXAMPLES = 3
"""Labelled frames of a clip: a second or two of computing each clip."""


def gathering(results: Results, config: Config, store: Store, at_most: int) -> dict[str, Any] | None:
    """IoU of the regions of classes over thresholds, for runs of several lengths, on some clips.

    Args:
        results: gives maps and flow; labels of its frames are the truth.
        config: complete; the section `proxy_labels` is read.
        store: holds maps and flow.
        at_most: clips that are looked at.

    Returns:
        What the template shows; None if there are no maps, or no labelled frame has others before it.
    """
    options = config["proxy_labels"]
    gap_frames = options["gap_frames"]
    known = [clip for clip in results.train.clips if clip.id in results.cams and clip.id in results.chain]
    clips = spread_over([clip for clip in known if _has_room(clip, FRAMES[1], gap_frames)], at_most)
    lengths = [n for n in FRAMES if any(_has_room(clip, n, gap_frames) for clip in clips)]
    if not lengths:
        return None
    examples = cam_examples(
        results.train,
        {clip.id: results.cams[clip.id] for clip in clips},
        results.chain,
        store,
        gap_frames=gap_frames,
        frames=max(lengths),
        at_most=EXAMPLES,
    )
    table = gathering_table(examples, frames=lengths, aggregates=(options["aggregate"],))
    if not table:
        return None
    rows = [_row(n, [line for line in table if line["frames"] == n]) for n in lengths]
    top = max(row["best"] for row in rows)
    return {
        "thresholds": [f"{threshold:g}" for threshold in THRESHOLDS],
        "rows": [{**row, "is_best": row["best"] == top} for row in rows],
        "clips": words.plural(max(line["clips"] for line in table), "clip"),
        "aggregate": options["aggregate"],
        "own": f"{words.plural(options['frames'], 'frame')}, threshold {options['threshold']:g}",
        "chart": _chart(table, lengths),
    }


def _has_room(clip: Clip, frames: int, gap_frames: int) -> bool:
    """Whether a run of a length ends at a labelled frame of the clip."""
    found = chains(clip, frames=frames, gap_frames=gap_frames)
    return any(clip.frames[chain.target].label is not None for chain in found)


def _row(frames: int, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of one length: IoU at each threshold, the best of them marked, with its precision and recall."""
    warped = {line["threshold"]: line for line in lines if line["warped"]}
    still = [line["iou"] for line in lines if not line["warped"]]
    best = max(warped.values(), key=lambda line: line["iou"])
    return {
        "frames": frames,
        "cells": [(words.percent(warped[each]["iou"]), warped[each] is best) for each in THRESHOLDS],
        "best": best["iou"],
        "precision": words.percent(best["precision"]),
        "recall": words.percent(best["recall"]),
        "still": words.percent(max(still, default=None)),
    }


def _chart(table: Sequence[Mapping[str, Any]], lengths: Sequence[int]) -> str:
    lines = {
        f"K = {n}": {
            line["threshold"]: {"mean": line["iou"], "low": None, "high": None}
            for line in table
            if line["frames"] == n and line["warped"]
        }
        for n in lengths
    }
    alt = "IoU of the regions of classes over thresholds, a line for each number of frames K"
    return lines_chart(lines, name="gathering", alt=alt, axis="threshold", of="IoU")
