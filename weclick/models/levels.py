"""What the levels of a backbone are like, for heads that look at several of them."""

from __future__ import annotations

from typing import NamedTuple

import torch

from weclick.models.backbones import Backbone

PROBE_PX = 64
"""Side of the image that a backbone's levels are looked up with."""


class Level(NamedTuple):
    """One of `Backbone.levels`.

    Attributes:
        channels: of its features.
        stride: input pixels per cell.
    """

    channels: int
    stride: int


@torch.no_grad()
def look_up_levels(backbone: Backbone) -> list[Level]:
    """The levels of a backbone, from low to deep. It looks at an empty image, so nothing in it changes."""
    like, was_training = next(backbone.parameters()), backbone.training
    levels = backbone.eval().levels(torch.zeros(1, 3, PROBE_PX, PROBE_PX).to(like))
    found = [Level(level.shape[1], PROBE_PX // level.shape[-1]) for level in levels]
    backbone.train(was_training)
    return found
