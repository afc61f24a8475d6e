"""A dense CRF as post-processing: class maps whose borders follow the colours of the image at its size."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from torch import Tensor

from weclick.clicks.people import Points
from weclick.evaluate.held_out import ClickTally
from weclick.evaluate.scores import scores
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_label
from weclick.metrics import ConfusionMatrix
from weclick.proxy_labels.lattice_crf import ITERATIONS, lattice_mean_field


def refined_classes(logits: Tensor, image: np.ndarray, preset: str) -> np.ndarray:
    """The class ids (H, W) uint8 of one image after the CRF.

    Args:
        logits: (K, H, W), upsampled to the image's size.
        image: (H, W, 3) uint8 RGB.
        preset: as in `lattice_mean_field`.
    """
    return lattice_mean_field(logits.float().softmax(0), image, preset).argmax(0).astype(np.uint8)


class RefinedScores:
    """Scores of class maps after the CRF, frame by frame.

    Args:
        preset: as in `lattice_mean_field`.
        manifest: the split that is scored.
        clicks: by people, on scored frames.
    """

    def __init__(self, preset: str, manifest: Manifest, clicks: Points):
        self._preset, self._manifest = preset, manifest
        self._matrix = ConfusionMatrix(manifest.num_classes)
        self._tally = ClickTally(clicks, manifest.classes.names)
        self._seconds, self._frames = 0.0, 0

    def add(self, clip: Clip, t: int, logits: Tensor, image: np.ndarray) -> None:
        """Add frame `t` of a clip: its logits (K, H, W) and its image (H, W, 3) uint8 RGB."""
        began, frame = time.perf_counter(), clip.frames[t]
        class_ids = refined_classes(logits, image, self._preset)
        self._seconds += time.perf_counter() - began
        self._frames += 1
        if frame.label:
            self._matrix.update(class_ids, read_label(self._manifest, frame))
        self._tally.add(clip.id, frame.name, class_ids)

    def figures(self) -> dict[str, Any]:
        """What metrics.json says under `crf`.

        Returns:
            preset; iterations; seconds_per_frame, of the CRF alone; miou, mean_accuracy, pixel_accuracy,
            per_class_iou, of the frames with a label; and what `ClickTally` tells of held-out clicks.
        """
        return {
            "preset": self._preset,
            "iterations": ITERATIONS,
            "seconds_per_frame": self._seconds / max(self._frames, 1),
            **scores(self._matrix, self._manifest),
            **self._tally.figures(),
        }
