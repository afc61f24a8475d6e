"""From the masks of objects to a class map: the surest object has the pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class SurestObjects:
    """The class map of one frame while masks come in.

    A pixel has the class of the object whose mask logit is highest there, if that exceeds 0. Of equal logits,
    the first one counts.

    Args:
        size: (H, W) px.
        beside: class id of pixels on no object; 255 ignores them.
        device: where logits are compared.
    """

    def __init__(self, size: tuple[int, int], beside: int, device: str = "cpu"):
        self._logits = torch.zeros(size, device=device)
        self._classes = torch.full(size, beside, dtype=torch.uint8, device=device)

    def add(self, logits: Tensor, class_ids: Sequence[int]) -> None:
        """Take in the masks of some objects.

        Args:
            logits: (N, h, w) on any grid that covers the frame; interpolated bilinearly.
            class_ids: of the N objects.
        """
        for coarse, class_id in zip(logits.to(self._logits), class_ids, strict=True):
            fine = F.interpolate(coarse[None, None], self._logits.shape, mode="bilinear")[0, 0]
            surer = fine > self._logits
            self._logits[surer] = fine[surer]
            self._classes[surer] = class_id

    def class_map(self) -> np.ndarray:
        """(H, W) uint8 class ids."""
        return self._classes.cpu().numpy()
