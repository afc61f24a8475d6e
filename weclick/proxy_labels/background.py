"""What is background beside the regions of classes: by the maps, by saliency, or by motion.

What is neither region nor background gets no label. F2F takes pixels of low saliency for background. The
networks that find saliency are trained on masks, so the other two ways do without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from weclick.common.errors import MissingFileError
from weclick.manifest import Clip
from weclick.proxy_labels.camera_motion import residual_motion
from weclick.proxy_labels.frame_files import files_of, read_plane
from weclick.proxy_labels.sources import Digests

SUFFIXES = (".png",)
"""Of saliency maps."""

STILL_PX = 0.25
"""Image pixels. What moves less from the dominant motion stands still, however little all else moves."""

FASTEST_PERCENT = 99
"""The percentile of a frame's residual motion that counts as its maximum, so that no single cell does."""


def low_values(values: Tensor, threshold: float) -> np.ndarray:
    """Where the values of all classes are below `threshold` (IRN's sure background).

    Args:
        values: (C, H, W) in 0..1.
        threshold: theta_b.

    Returns:
        (H, W) bool. False everywhere if a class has no value at all: it is in the frame, nobody knows where.
    """
    if not values.amax((1, 2)).all():
        return np.zeros(values.shape[1:], bool)
    return (values.amax(0) < threshold).numpy()


def with_the_camera(flow: np.ndarray, threshold: float) -> np.ndarray:
    """Which pixels move as the camera does: their residual motion is small beside the fastest of the frame.

    Args:
        flow: (2, H, W) image pixels, to any other frame.
        threshold: share of the fastest residual.

    Returns:
        (H, W) bool.
    """
    residual_px = residual_motion(flow)
    return residual_px < max(threshold * float(np.percentile(residual_px, FASTEST_PERCENT)), STILL_PX)


@dataclass(frozen=True)
class Saliency:
    """Saliency maps that another tool made: `<clip>/<frame>.png` of 8 bits, 255 most salient.

    Attributes:
        path: of the folder, `proxy_labels.saliency`.
        digests: paths -> SHA-256 of their content; may remember them.
        shrink: of the manifest.
    """

    path: Path
    digests: Digests
    shrink: int = 1

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The content of all maps of the clip's frames, by position. Frames may be without a map."""
        files = files_of(self.path, clip, SUFFIXES)
        found = self.digests([*files.values()])
        return {"saliency": {str(t): found[file] for t, file in files.items()}}

    def low(self, clip: Clip, position: int, threshold: float) -> np.ndarray:
        """Where a frame's saliency, 0..1, is below `threshold`: (H, W) bool.

        Raises:
            MissingFileError: the frame has no map.
            InputError: the map has colours, or is of another size.
        """
        file = files_of(self.path, clip, SUFFIXES).get(position)
        if file is None:
            raise MissingFileError(
                f"{self.path}: has no saliency map of frame {clip.frames[position].name!r} of clip "
                f"{clip.id!r}, which gets a label; add <clip>/<frame>.png, or set another "
                "proxy_labels.background"
            )
        plane = read_plane(file, self.digests([file])[file], clip, self.shrink, "saliency (0..255)")
        return plane < threshold * 255
