"""The part of the page on proxy labels: class maps beside the truth, and how far they agree with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weclick.common import words
from weclick.common.sections import Config
from weclick.common.spread import spread_over
from weclick.manifest import IGNORE, Clip
from weclick.manifest.read import read_label_of
from weclick.proxy_labels.proxy_labels import read_proxy_labels
from weclick.runs.report.gallery import Captioned, frames_of
from weclick.runs.report.pictures import fit, hatched, overlay, picture
from weclick.runs.report.results import Results
from weclick.store import Store

SCORES = ("iou", "precision", "recall")


def section(results: Results, config: Config, store: Store, at_most: int) -> dict[str, Any] | None:
    """Some proxy labels as pictures, how many there are, and their quality; None if the run takes none.

    Raises:
        EntryMissingError: the index names an entry that the store lacks.
        InputError: an entry is of other frames.
    """
    clips = [clip for clip in results.train.clips if clip.id in results.proxy_labels]
    if not clips:
        return None
    entries = {clip.id: store.get("proxy_labels", results.proxy_labels[clip.id]) for clip in clips}
    frames = {clip.id: len(entries[clip.id].attributes["digests"]) for clip in clips}
    labelled = [clip for clip in clips if frames[clip.id]]
    places = [(clip, n) for clip in labelled for n in range(frames[clip.id])]
    rows = []
    for clip, n in spread_over(places, at_most):
        t, label = list(read_proxy_labels(entries[clip.id], clip))[n]
        rows.append(_row(results, clip, t, label))
    return {
        "made_of": made_of(config),
        "frames": words.plural(len(places), "frame"),
        "clips": words.plural(len(labelled), "clip"),
        "bare": words.plural(len(clips) - len(labelled), "clip") if len(labelled) < len(clips) else "",
        "rows": rows,
        "has_truth": any(len(row) > 2 for row in rows),
        "quality": _quality(results),
    }


def made_of(config: Config) -> str:
    """What the proxy labels are made of, for the end of a sentence."""
    options = config["proxy_labels"]
    if options["source"] == "f2f":
        frames = words.plural(options["frames"], "frame")
        return f"class activation maps, joined over {frames} along the flow"
    if options["source"] == "sam2":
        return "clicks, which SAM 2 turns into masks and follows through the clip"
    return f"the class maps in {options['folder']['path']}"


def _row(results: Results, clip: Clip, t: int, label: np.ndarray) -> list[Captioned]:
    palette, frame = results.train.classes.palette, clip.frames[t]
    image, where = frames_of(results.train, clip, t)[t], f"frame {frame.name} of {clip.id}"
    share = f"{100 * (label == IGNORE).mean():.0f} % unlabelled"
    row = [
        (picture(fit(image), where.capitalize()), f"{clip.id} · {frame.name}"),
        (
            picture(hatched(image, label, palette), f"Proxy label of {where}, {share}"),
            f"proxy label · {share}",
        ),
    ]
    if frame.label is not None:
        truth = overlay(image, read_label_of(results.train, clip, frame), palette)
        row.append((picture(truth, f"True classes of {where}"), "truth"))
    return row


def _quality(results: Results) -> dict[str, Any] | None:
    """Scores of each class in per cent, and their means over the classes that have them."""
    if not results.quality:
        return None
    palette = dict(zip(results.train.classes.names, results.train.classes.palette, strict=True))
    shares = [_shares(row) for row in results.quality]
    return {
        "frames": words.plural(results.quality[0]["frames"], "frame"),
        "rows": [
            {
                "name": row["class"],
                "color": f"rgb({' '.join(map(str, palette[row['class']]))})",
                "cells": [words.percent(share) for share in told],
            }
            for row, told in zip(results.quality, shares, strict=True)
        ],
        "means": [words.percent(_mean(column)) for column in zip(*shares, strict=True)],
    }


def _shares(row: Mapping[str, Any]) -> list[float | None]:
    """IoU, precision, recall, and the share of the class's pixels that have no label."""
    pixels = row["true_px"] + row["unlabelled_px"]
    return [*(row[name] for name in SCORES), row["unlabelled_px"] / pixels if pixels else None]


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None
