"""A network that gives prescribed answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class Oracle(nn.Module):
    """Gives the label maps one after another, so that scores can be computed by hand."""

    def __init__(self, labels: list[np.ndarray]):
        super().__init__()
        self.labels, self.turn = labels, 0

    def forward(self, images):
        if self.turn >= len(self.labels):  # the speed measurement comes after all frames
            return torch.zeros(1, 9, *images.shape[-2:])
        classes = torch.from_numpy(self.labels[self.turn]).long().clamp(max=8)
        self.turn += 1
        return nn.functional.one_hot(classes, 9).permute(2, 0, 1)[None].float()
