"""DIS flow of OpenCV: no weights, no GPU, some 20 ms for 480x360 px on one core.

Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import log2
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
PATCH_PX = 8
"""Side of the patches that all presets match."""

MINIMUM_PX = 32
"""Smaller images are padded to this: below it OpenCV finds no scale to begin at."""


class Dis:
    """Dense inverse search on grey images.

    Args:
        preset: ultrafast, fast or medium, from quick to good; medium is some four times the work of fast.
        finest_scale: the pyramid level to stop at; 0 is full resolution, None leaves it to the preset
            (medium 1, the others 2).
        device: where the flow is wanted; the CPU always does the work.

    Raises:
        ValueError: an unknown preset or scale.
    """

    name = "dis"
    licence = None

    def __init__(self, preset: str = "medium", finest_scale: int | None = None, *, device: str = "cpu"):
        self.digest = self.describe(preset, finest_scale)
        self._preset, self._finest_scale = preset, finest_scale
        self._device = device

    @classmethod
    def describe(cls, preset: str = "medium", finest_scale: int | None = None) -> dict[str, Any]:
        """Name, options, and OpenCV's major and minor version: 4.12 and 5.0 differ a little."""
        if preset not in PRESETS:
            raise ValueError(f"flow.options.preset is {preset!r}, expected one of {', '.join(PRESETS)}")
        if finest_scale is not None and finest_scale not in range(6):
            raise ValueError(
                f"flow.options.finest_scale is {finest_scale!r}, expected 0 (full resolution) to 5, or null"
            )
        version = ".".join(cv2.__version__.split(".")[:2])
        return {"name": cls.name, "preset": preset, "finest_scale": finest_scale, "opencv": version}

    def estimate(self, target: Tensor, neighbour: Tensor) -> Tensor:
        """The flow target -> neighbour; see `FlowEstimator.estimate`. Pairs are spread over torch's threads.

        OpenCV's own threads are switched off for the whole process. They gain little here, and some
        versions split an image into as many stripes as there are threads, which changes the flow.
        """
        import torch  # takes seconds to load, and `describe` does without

        cv2.setNumThreads(1)
        images = zip(_to_numpy(target), _to_numpy(neighbour), strict=True)
        with ThreadPoolExecutor(min(torch.get_num_threads(), len(target)) or 1) as pool:
            flows = list(pool.map(lambda pair: self._estimate_pair(*pair), images))
        stacked = np.stack(flows) if flows else np.zeros((0, *target.shape[2:], 2), np.float32)
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous().to(self._device)

    def _estimate_pair(self, target: np.ndarray, neighbour: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB, twice -> (H, W, 2) float32 px."""
        height, width = target.shape[:2]
        first, second = (_pad(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) for image in (target, neighbour))
        flow = self._engine(*first.shape).calc(first, second, None)
        return flow[:height, :width]

    def _engine(self, height: int, width: int) -> Any:
        """A new DIS object that stops at a scale the image has. It costs nothing, and threads share none.

        If the scale is too coarse for the image, OpenCV picks others by the width alone, and reads outside
        a low, wide image (seen in 5.0: the process dies).
        """
        engine = cv2.DISOpticalFlow.create(PRESETS[self._preset])
        wanted = engine.getFinestScale() if self._finest_scale is None else self._finest_scale
        engine.setFinestScale(min(wanted, coarsest_scale(height, width)))
        return engine


def coarsest_scale(height: int, width: int) -> int:
    """The pyramid level at which DIS begins on an image of that size (dis_flow.cpp, `calc`)."""
    by_longer = int(log2(max(height, width) / (4 * PATCH_PX)) + 0.5)
    by_shorter = int(log2(min(height, width) / PATCH_PX))
    return min(by_longer, by_shorter)


def _pad(grey: np.ndarray) -> np.ndarray:
    bottom, right = (max(0, MINIMUM_PX - side) for side in grey.shape)
    return cv2.copyMakeBorder(grey, 0, bottom, 0, right, cv2.BORDER_REPLICATE) if bottom or right else grey


def _to_numpy(images: Tensor) -> np.ndarray:
    """(B, 3, H, W) on any device -> (B, H, W, 3) contiguous."""
    return np.ascontiguousarray(images.cpu().numpy().transpose(0, 2, 3, 1))
