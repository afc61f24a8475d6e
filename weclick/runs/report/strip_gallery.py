"""Strips as pictures: frames, flow, warped prediction, teacher, trust, student, truth."""

from __future__ import annotations

import math
from typing import Any

import matplotlib
import numpy as np
import torch
from torch.nn.functional import interpolate

from weclick.common.sections import Config
from weclick.manifest import IGNORE
from weclick.manifest.read import read_clip, read_label
from weclick.runs.report.flow_color import UNKNOWN, flow_to_rgb, legend_scale, wheel_legend
from weclick.runs.report.gallery import Captioned
from weclick.runs.report.pictures import Picture, fit, overlay, picture, ramp
from weclick.runs.report.results import Results
from weclick.runs.report.strips import Strip, compute_strips
from weclick.store import Store

TRUST_RANGE = {"exp_neg": (math.exp(-1), 1.0), "as_printed": (1.0, math.e), "none": (0.0, 1.0)}
"""Values that the consistency matrix can take, by `mfd.consistency`."""


def strip_gallery(results: Results, config: Config, store: Store, at_most: int) -> dict[str, Any] | None:
    """Some training targets, step by step along memory-flow distillation.

    Returns:
        What the template shows; None if the run has no soft labels, or no target has a neighbour.
    """
    strips = compute_strips(results, config, store, at_most)
    if not strips:
        return None
    max_px = legend_scale(strip.flow for strip in strips)
    low, high = TRUST_RANGE[config["mfd"]["consistency"]]
    return {
        "rows": [_row(results, strip, max_px, (low, high)) for strip in strips],
        "wheel": picture(wheel_legend(), "Colour wheel: direction and length of the flow"),
        "max_px": f"{max_px:g}",
        "scale": ramp("Colours of the consistency matrix, low to high"),
        "low": f"{low:.2f}",
        "high": f"{high:.2f}",
        "trained_with": config["mfd"]["weight"] > 0,
    }


def trust_to_rgb(trust: np.ndarray, low: float, high: float) -> np.ndarray:
    """(h, w) trust, NaN where it does not count -> (h, w, 3) uint8 RGB: dark is doubt, grey is left out."""
    share = np.clip((np.nan_to_num(trust, nan=low) - low) / (high - low), 0, 1)
    rgb = matplotlib.colormaps["viridis"](share)[..., :3]
    rgb[np.isnan(trust)] = UNKNOWN
    return np.rint(255 * rgb).astype(np.uint8)


def class_map(probabilities: np.ndarray, strip: Strip, valid: np.ndarray | None = None) -> np.ndarray:
    """Class ids at the frame's size.

    Args:
        probabilities: (K, h, w) on the strip's grid.
        strip: gives stride and size.
        valid: (h, w) bool; cells without it become 255.

    Returns:
        (H, W) uint8: the arg-max after bilinear upsampling, as in evaluation.
    """
    rows, columns = (side * strip.stride_px for side in probabilities.shape[1:])
    probs = torch.from_numpy(np.ascontiguousarray(probabilities))[None]
    full = interpolate(probs, size=(rows, columns), mode="bilinear", align_corners=False)
    ids = full[0].argmax(0).byte().numpy()
    if valid is not None:
        ids[~_enlarge(valid, strip.stride_px)] = IGNORE
    return ids[: strip.clip.height_px, : strip.clip.width_px]


def _row(results: Results, strip: Strip, max_px: float, trust_range: tuple[float, float]) -> list[Captioned]:
    manifest, clip = results.train, strip.clip
    palette = manifest.classes.palette
    order = sorted((strip.target, strip.neighbour))
    frames = dict(zip(order, read_clip(manifest, clip.restrict(order)), strict=True))
    image, other = frames[strip.target], frames[strip.neighbour]
    name, other_name = clip.frames[strip.target].name, clip.frames[strip.neighbour].name
    where = f"{name} of {clip.id}"
    flow = _framed(flow_to_rgb(strip.flow, max_px=max_px), strip)
    trust = _framed(trust_to_rgb(strip.disputed_trust(), *trust_range), strip)
    cells = strip.disputed_trust()[strip.valid]
    told = f"consistency, mean {cells.mean():.2f}" if cells.size else "consistency"

    def classes(probabilities: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        return overlay(image, class_map(probabilities, strip, valid), palette)

    row = [
        _item(fit(other), f"Frame {other_name}, the neighbour", f"frame f · {other_name}"),
        _item(fit(image), f"Frame {where}, the target", f"frame k · {name}"),
        _item(
            flow, f"Flow from {name} to {other_name}", f"flow k to f · {100 * strip.valid.mean():.0f} % valid"
        ),
        _item(
            classes(strip.warped, strip.valid),
            f"The student's prediction of {other_name}, warped onto {name}",
            "student on f, warped onto k",
        ),
        _item(classes(strip.teacher), f"The teacher's prediction of {where}", "teacher on k"),
        _item(trust, f"Consistency matrix of {where}", told),
        _item(classes(strip.student), f"The student's prediction of {where}", "student on k"),
    ]
    if clip.frames[strip.target].label is not None:
        truth = overlay(image, read_label(manifest, clip.frames[strip.target]), palette)
        row.append(_item(truth, f"True classes of {where}", "truth"))
    return row


def _item(pixels: np.ndarray, alt: str, caption: str) -> tuple[Picture, str]:
    return picture(pixels, alt), caption


def _framed(cells: np.ndarray, strip: Strip) -> np.ndarray:
    """(h, w, 3) of the grid -> the page's width, every cell a square."""
    full = _enlarge(cells, strip.stride_px)[: strip.clip.height_px, : strip.clip.width_px]
    return fit(np.ascontiguousarray(full), nearest=True)


def _enlarge(cells: np.ndarray, factor: int) -> np.ndarray:
    return cells.repeat(factor, 0).repeat(factor, 1)
