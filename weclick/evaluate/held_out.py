"""Scores by people's clicks on frames that nothing was learned from: how many are hit, how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from weclick.clicks.people import Points, import_clicks
from weclick.common.spread import spread_to_ends
from weclick.evaluate.motion import Stacks, no_stacks
from weclick.evaluate.shares import wilson
from weclick.manifest import Manifest
from weclick.manifest.read import read_clip
from weclick.models.inference import predict


def held_out_clicks(manifest: Manifest) -> Points:
    """People's clicks on the scored frames of a split; none if the data set has no such clicks.

    Raises:
        InputError: as in `import_clicks`.
    """
    return import_clicks(manifest, "scored").points if manifest.click_file else {}


class ClickTally:
    """Counts the held-out clicks whose class a network predicts.

    Args:
        clicks: on scored frames.
        classes: names.
    """

    def __init__(self, clicks: Points, classes: tuple[str, ...]):
        self._clicks, self._classes = clicks, classes
        self._hits, self.counts = (np.zeros(len(classes), np.int64) for _ in range(2))
        self._frames = 0

    def add(self, clip: str, frame: str, class_ids: np.ndarray) -> None:
        """Add a frame's prediction, (H, W) uint8."""
        points = self._clicks.get((clip, frame))
        if points is None:
            return
        hit = class_ids[points["y"], points["x"]] == points["class_id"]
        self.counts += np.bincount(points["class_id"], minlength=len(self._classes))
        self._hits += np.bincount(points["class_id"][hit], minlength=len(self._classes))
        self._frames += 1

    def figures(self) -> dict[str, Any]:
        """What metrics.json says of them; empty without a click.

        Returns:
            click_accuracy: share of the clicks that are hit. held_out_clicks: the same with its 95 % interval
            (low, high), clicks and frames; and per_class, the same of each class that has a click.
        """
        if not self.counts.any():
            return {}
        per_class = {
            name: _share(int(hits), int(count))
            for name, hits, count in zip(self._classes, self._hits, self.counts, strict=True)
            if count
        }
        whole = _share(int(self._hits.sum()), int(self.counts.sum()))
        told = {**whole, "frames": self._frames, "per_class": per_class}
        return {"click_accuracy": whole["accuracy"], "held_out_clicks": told}


def _share(hits: int, clicks: int) -> dict[str, Any]:
    low, high = wilson(hits, clicks)
    return {"clicks": clicks, "accuracy": hits / clicks, "low": low, "high": high}


def score_clicks(
    model: nn.Module,
    manifest: Manifest,
    clicks: Points,
    *,
    at_most: int,
    device: torch.device | str = "cpu",
    stacks: Stacks = no_stacks,
) -> Mapping[str, float]:
    """The share of held-out clicks that a network hits, on at most `at_most` of their frames, evenly chosen.

    Returns:
        click_accuracy; empty without a click.
    """
    tally = ClickTally(clicks, manifest.classes.names)
    chosen = {*spread_to_ends(sorted(clicks), at_most)} if clicks else set()
    for clip in manifest.clips:
        kept = clip.restrict(t for t, frame in enumerate(clip.frames) if (clip.id, frame.name) in chosen)
        images = read_clip(manifest, kept) if kept.frames else ()
        for t, (frame, image) in enumerate(zip(kept.frames, images, strict=True)):
            class_ids = predict(model, image, device, stack=stacks(kept, t)).cpu().numpy()
            tally.add(clip.id, frame.name, class_ids)
    figures = tally.figures()
    return {"click_accuracy": figures["click_accuracy"]} if figures else {}
