"""How floats become small integers on disk, and back. The scale always travels in the attributes."""

from __future__ import annotations

from typing import Literal

import numpy as np

FLOW_SCALE = 64
"""Steps per pixel: an int16 of 1/64 px reaches ±512 px, as in KITTI's files."""

LOG_PROBABILITY_FLOOR = -12.0
"""Log-probabilities below this (6e-6) are stored as this."""


def encode_flow(
    flow_px: np.ndarray, *, on_overflow: Literal["error", "clip"] = "error"
) -> tuple[np.ndarray, int]:
    """Quantise a flow to int16 steps of 1/64 px.

    Args:
        flow_px: float array of any shape, px of its own grid.
        on_overflow: what to do with values beyond ±511.98 px, and with NaN: raise, or clip (NaN to 0).

    Returns:
        The int16 array, and how many values had to be clipped.

    Raises:
        ValueError: a value does not fit and `on_overflow` is "error".
    """
    steps = np.rint(flow_px * FLOW_SCALE)
    limits = np.iinfo(np.int16)
    fits = (steps >= limits.min) & (steps <= limits.max)
    misfits = int(fits.size - np.count_nonzero(fits))
    if misfits and on_overflow == "error":
        worst = flow_px[~fits].flat[0]
        raise ValueError(
            f"{misfits} flow values such as {worst} px do not fit int16 of 1/{FLOW_SCALE} px (±512 px); "
            "the estimator failed on this pair; flow.on_overflow: clip stores such values clipped and counted"
        )
    if misfits:
        steps = np.clip(np.nan_to_num(steps, nan=0.0), limits.min, limits.max)
    return steps.astype(np.int16), misfits


def decode_flow(stored: np.ndarray) -> np.ndarray:
    """int16 steps of 1/64 px -> float32 px."""
    return stored.astype(np.float32) / FLOW_SCALE


def encode_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Quantise probabilities to uint8 on a logarithmic scale: 255 is 1, 0 is e^-12.

    Args:
        probabilities: float array, 0..1.

    Returns:
        uint8 array of the same shape; a step is 4.8 % of the value.
    """
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(probabilities), LOG_PROBABILITY_FLOOR)
    return np.rint(255 * (1 - logs / LOG_PROBABILITY_FLOOR)).astype(np.uint8)


def decode_probabilities(stored: np.ndarray, *, class_axis: int) -> np.ndarray:
    """The float32 probabilities of `encode_probabilities`, renormalised to sum 1 over `class_axis`."""
    table = np.exp(LOG_PROBABILITY_FLOOR * (1 - np.arange(256, dtype=np.float32) / 255))
    values = table[stored]
    return values / values.sum(axis=class_axis, keepdims=True)
