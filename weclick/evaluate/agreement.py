"""How far two networks say the same of a frame. It needs no truth, and bounds what a student has learned."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from weclick.metrics import ConfusionMatrix


class Agreement:
    """Compares the class maps of networks with those of the first one, frame by frame.

    The first one's maps are kept packed: one of 1024x2048 px takes some 30 KiB.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        self._first = ""
        self._packed: dict[tuple[str, str], bytes] = {}
        self._matrices: dict[str, ConfusionMatrix] = {}
        self._frames = 0

    def add(self, role: str, frame: tuple[str, str], class_ids: np.ndarray) -> None:
        """Add the prediction of a network.

        Args:
            role: the network's; that of the first call is the one that others are compared with.
            frame: clip id and name of the frame.
            class_ids: (H, W) uint8.
        """
        self._first = self._first or role
        if role == self._first:
            self._packed[frame] = zlib.compress(class_ids.tobytes(), 1)
            return
        other = np.frombuffer(zlib.decompress(self._packed[frame]), np.uint8).reshape(class_ids.shape)
        self._matrices.setdefault(role, ConfusionMatrix(self._num_classes)).update(other, class_ids)
        self._frames += 1

    def figures(self, role: str) -> dict[str, Any]:
        """What metrics.json says of the first network and another; empty if the other has no frame.

        Returns:
            agreement: pixels, the share on which both say the same; miou, taking the other for the truth;
            frames.
        """
        if role not in self._matrices:
            return {}
        matrix = self._matrices[role]
        return {
            "agreement": {"pixels": matrix.pixel_accuracy(), "miou": matrix.miou(), "frames": self._frames}
        }
