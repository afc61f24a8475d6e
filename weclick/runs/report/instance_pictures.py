"""Instances over a frame, at the page's size. Colours tell objects apart; texts tell their classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weclick.evaluate.instances.drawing import overlay_instances
from weclick.evaluate.instances.found import Instances
from weclick.runs.report.pictures import WIDTH_PX, fit

MOST = 40
"""Instances of a frame that are drawn: the surest. More would hide each other and the frame."""


def draw_instances(
    image: np.ndarray,
    found: Instances,
    names: Sequence[str],
    *,
    scored: bool = True,
    width_px: int = WIDTH_PX,
) -> np.ndarray:
    """The surest instances of a frame over it.

    Args:
        image: (H, W, 3) uint8 RGB.
        found: its instances. Empty ones are left out.
        names: of the classes.
        scored: whether scores stand beside the classes.
        width_px: of the picture.

    Returns:
        (h, width_px, 3) uint8 RGB.
    """
    best = np.argsort(-found.scores, kind="stable")[:MOST]
    ground = fit(image, width_px=width_px)
    masks = [fit(found.masks[i].astype(np.uint8), nearest=True, width_px=width_px) > 0 for i in best]
    kept = [n for n, mask in enumerate(masks) if mask.any()]
    shown = Instances(
        np.array([masks[n] for n in kept], bool).reshape(-1, *ground.shape[:2]),
        found.classes[best[kept]],
        found.scores[best[kept]],
    )
    return overlay_instances(ground, shown, names, scored=scored)


def worded(found: Instances, names: Sequence[str]) -> str:
    """Class and score of each instance, the surest first: `car .83, person .40`; `none` without any."""
    order = np.argsort(-found.scores, kind="stable")
    return ", ".join(f"{names[found.classes[i]]} {found.scores[i]:.2f}" for i in order) or "none"
