"""Optical flow as colours: hue is direction, saturation is length.

The colour wheel is that of the Middlebury benchmark (Baker et al., "A Database and Evaluation Methodology for
Optical Flow", IJCV 2011): motion to the right is red, down yellow, left cyan, up violet; no motion is white.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

ARCS = (("red", 15), ("yellow", 6), ("green", 4), ("cyan", 11), ("blue", 13), ("magenta", 6))
"""Each arc of the wheel: its first hue, and its number of colours, as many as the eye tells apart."""

UNKNOWN = 0.6
"""Grey level, 0..1, of flow that is NaN or infinite."""

_RGB = {
    "red": (1, 0, 0),
    "yellow": (1, 1, 0),
    "green": (0, 1, 0),
    "cyan": (0, 1, 1),
    "blue": (0, 0, 1),
    "magenta": (1, 0, 1),
}


def color_wheel() -> np.ndarray:
    """(55, 3) float RGB, 0..1: the fully saturated colours in the order of their directions."""
    ends = (*ARCS[1:], ARCS[0])
    arcs = zip(ARCS, ends, strict=True)
    return np.concatenate([np.linspace(_RGB[a], _RGB[b], n, endpoint=False) for (a, n), (b, _) in arcs])


def flow_to_rgb(flow: np.ndarray, *, max_px: float) -> np.ndarray:
    """A flow as a picture.

    Args:
        flow: (2, H, W) float, (dx, dy) in px; NaN where it is not known.
        max_px: length that is drawn fully saturated, px; longer flow is darkened.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: flow is not (2, H, W), or max_px not above 0.
    """
    if flow.ndim != 3 or flow.shape[0] != 2 or not max_px > 0:
        raise ValueError(
            f"flow is of shape {flow.shape} with max_px {max_px}, expected shape (2, H, W) and max_px above 0"
        )
    known = np.isfinite(flow).all(0)
    dx, dy = np.where(known, flow, 0).astype(np.float64)
    radius = np.hypot(dx, dy)[..., None] / max_px
    hue = _hue(dx, dy)
    rgb = np.where(radius <= 1, 1 - radius * (1 - hue), 0.75 * hue)
    rgb[~known] = UNKNOWN
    return np.rint(255 * rgb).astype(np.uint8)


def wheel_legend(size_px: int = 192) -> np.ndarray:
    """The wheel as a disc whose rim is `max_px`: (size_px, size_px, 4) uint8 RGBA, transparent outside."""
    axis = (np.arange(size_px) + 0.5) * 2 / size_px - 1
    dx, dy = np.meshgrid(axis, axis)
    disc = flow_to_rgb(np.stack([dx, dy]) / np.maximum(np.hypot(dx, dy), 1), max_px=1)
    coverage = np.clip((1 - np.hypot(dx, dy)) * size_px / 2, 0, 1)
    return np.dstack([disc, np.rint(255 * coverage).astype(np.uint8)])


def legend_scale(flows: Iterable[np.ndarray]) -> float:
    """A round length in px (1, 2 or 5 times a power of ten) that 99 of 100 vectors do not exceed."""
    lengths = [np.hypot(*flow)[np.isfinite(flow).all(0)] for flow in flows]
    joined = np.concatenate([np.ravel(length) for length in lengths] or [np.empty(0)])
    longest = max(float(np.quantile(joined, 0.99)) if joined.size else 0.0, 0.1)
    power = 10.0 ** np.floor(np.log10(longest))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= longest * 0.999))


def _hue(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """(H, W, 3) float: the wheel's colour of every direction, interpolated."""
    wheel = color_wheel()
    place = (np.arctan2(-dy, -dx) / np.pi + 1) / 2 * (len(wheel) - 1)
    lower = np.floor(place).astype(int)
    share = (place - lower)[..., None]
    return (1 - share) * wheel[lower] + share * wheel[(lower + 1) % len(wheel)]
