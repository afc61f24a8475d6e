"""Draws class activation maps, over their frames where a manifest names these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from weclick.common.spread import spread_to_ends
from weclick.proxy_labels.cams import read_maps
from weclick.runs.inspect.over_frames import frames_under
from weclick.store import Entry

OPACITY = 0.75
"""Of the colours where a map has its maximum. Where it is 0, the frame stays as it is."""


def map_pictures(entry: Entry, manifests: Sequence[Path], at_most: int) -> list[tuple[str, np.ndarray]]:
    """Some frames of an entry of the kind "cams", a picture for each class that has maps.

    Args:
        entry: its attributes were checked.
        manifests: of the split; with none, the maps are drawn alone.
        at_most: pictures.

    Returns:
        Titles with the classes' scores; (H, W, 3) uint8 maps over frames, or (h, w) float 0..1 maps alone.

    Raises:
        InputError: no manifest lists the frames, or one of them changed.
    """
    told, scores = entry.attributes, entry.array("scores")
    shown = told["class_ids"][:at_most]
    steps = spread_to_ends(range(len(told["frames"])), max(1, at_most // len(shown)))
    digests = entry.meta["inputs"]["frames"]
    under = frames_under(entry, manifests, digests, steps).images if manifests else [None] * len(steps)
    pictures: list[tuple[str, np.ndarray]] = []
    for t, frame in zip(steps, under, strict=True):
        maps, certain = read_maps(entry, t)[0], scores[t]
        for class_id, one in zip(shown, maps, strict=False):
            title = f"{told['frames'][t]}: {told['classes'][class_id]}, score {certain[class_id]:.2f}"
            pictures.append((title, one if frame is None else _over(frame, one)))
    return pictures


def _over(frame: np.ndarray, one: np.ndarray) -> np.ndarray:
    """A map (h, w) in 0..1 as colours over its frame: the higher, the less of the frame is seen."""
    from matplotlib import colormaps

    size = frame.shape[:2]
    value = interpolate(torch.from_numpy(one)[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    share = OPACITY * value.numpy()[..., None]
    return np.rint((1 - share) * frame + share * 255 * colormaps["inferno"](value.numpy())[..., :3]).astype(
        np.uint8
    )
