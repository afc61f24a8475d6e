"""What is gathered of the maps of a run at the frame that gets the label: from one side, or from both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from weclick.proxy_labels.aggregation import HALF, UNIONS, Binarise, Join, gather

How = Literal["union", "maximum", "mean"]


@dataclass(frozen=True)
class Leg:
    """Maps of frames that lead to the labelled one, which is the last of them.

    Attributes:
        maps: T of (C, h, w) floating point in 0..1.
        flows: T - 1 of (2, h, w) px of that grid, on each frame after the first, to the one before it here.
        held: T - 1 of (h, w) bool, where a flow is believed.
    """

    maps: Sequence[Tensor]
    flows: Sequence[Tensor]
    held: Sequence[Tensor]


class Gathered(NamedTuple):
    """What is gathered at the labelled frame.

    Attributes:
        levels: (C, h, w) in 0..1; a cell is in the region of a class where its level exceeds `cut`.
        cut: see `levels`.
    """

    levels: Tensor
    cut: float


def gather_legs(
    legs: Sequence[Leg], how: How, *, threshold: float, binarise: Binarise = "each_step"
) -> Gathered:
    """Gather the maps of all legs, which end at one frame.

    Args:
        legs: one, or one from each side.
        how: union joins the masks, map > threshold of its own maximum. maximum and mean gather the maps, and
            cut what is gathered in the same way; their levels are the gathered maps over their maximum.
        threshold: theta, 0..1.
        binarise: of the union, see `aggregate`.
    """
    if how == "union":
        masked = [
            replace(leg, maps=[(relative(each) > threshold).to(each.dtype) for each in leg.maps])
            for leg in legs
        ]
        return Gathered(_largest(masked, UNIONS[binarise]), HALF)
    return Gathered(relative(_mean(legs) if how == "mean" else _largest(legs, torch.maximum)), threshold)


def relative(maps: Tensor) -> Tensor:
    """Maps (C, h, w) over the maximum of each; one that is empty stays so."""
    peaks = maps.amax((1, 2), keepdim=True)
    return (maps / peaks).where(peaks > 0, 0)


def _largest(legs: Sequence[Leg], join: Join) -> Tensor:
    return torch.stack([_end_of(leg, join) for leg in legs]).amax(0)


def _mean(legs: Sequence[Leg]) -> Tensor:
    """The mean over all frames of all legs that reach a cell. The labelled frame counts once.

    A plane of ones is carried along, and counts the frames.
    """
    counted = [
        replace(leg, maps=[torch.cat([each, torch.ones_like(each[:1])]) for each in leg.maps]) for leg in legs
    ]
    own = counted[0].maps[-1]
    total = own + sum(_end_of(leg, torch.add) - own for leg in counted)
    return total[:-1] / total[-1:]


def _end_of(leg: Leg, join: Join) -> Tensor:
    *_, end = gather(leg.maps, leg.flows, join, leg.held)
    return end
