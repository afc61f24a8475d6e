"""Masks and maps of successive frames, gathered along the flow (Lee et al., ICCV 2019, "F2F").

A classifier's map of one frame shows those parts of an object that told its class. Neighbouring frames show
others. So the masks of each frame are joined with those of the frames before it, which the flow carries here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.geometry import backward_warp

Binarise = Literal["each_step", "end"]
Join = Callable[[Tensor, Tensor], Tensor]
"""A frame's maps, and what was gathered before, carried to this frame -> what is gathered now."""

HALF = 0.5
"""A cell is in a warped mask if more than this share of it is. Exactly half is not enough, since every other
threshold of the method has to be exceeded, too (score > tau, map > theta)."""


def aggregate(masks: Any, flow_to_previous: Any, *, binarise: Binarise = "each_step") -> Any:
    """The union of the masks so far, at each frame: A_1 = M_1, A_{i+1} = M_{i+1} or W(A_i, flow_{i+1 -> i}).

    W is the bilinear backward warp. What points outside the image fetches nothing. A flow points outside as
    soon as its position leaves the centres of the pixels, [0, W-1] x [0, H-1].

    Args:
        masks: (T, H, W) bool, M_1 .. M_T, numpy or torch.
        flow_to_previous: (T, 2, H, W) floating point (dx, dy) in px, on the grid of each frame, pointing to
            the frame before it. The first is not read.
        binarise: each_step cuts the warped union at HALF after every warp. end carries shares, keeps the
            larger one of these and the next mask, and cuts what is returned.

    Returns:
        (T, H, W) bool, A_1 .. A_T, numpy or torch as `masks`.

    Raises:
        InputError: the shapes do not fit each other.

    Example:
        An object of one pixel moves to the right by one. Only the first frame shows it.

        >>> masks = np.array([[[True, False, False]], [[False, False, False]]])
        >>> flow = np.zeros((2, 2, 1, 3), np.float32)
        >>> flow[1, 0] = -1
        >>> aggregate(masks, flow)[1].tolist()
        [[False, True, False]]
    """
    found, flow = torch.as_tensor(masks), torch.as_tensor(flow_to_previous)
    if found.ndim != 3 or flow.shape != (len(found), 2, *found.shape[1:]):
        raise InputError(
            f"masks are {tuple(found.shape)} and flows {tuple(flow.shape)}, expected (T, H, W) and "
            "(T, 2, H, W), a flow for each mask; bring both to one grid"
        )
    dtype = torch.float64 if flow.dtype == torch.float64 else torch.float32
    steps = gather(found[:, None].to(dtype), flow[1:], UNIONS[binarise])
    joined = torch.cat([*steps, found[:0].to(dtype)]) > HALF
    return joined.numpy() if isinstance(masks, np.ndarray) else joined


def gather(
    maps: Sequence[Tensor] | Tensor,
    flows: Sequence[Tensor] | Tensor,
    join: Join,
    held: Sequence[Tensor | None] = (),
) -> Iterator[Tensor]:
    """What is gathered so far of C maps along the flow, at each frame.

    Args:
        maps: T of (C, h, w) floating point.
        flows: T - 1 of (2, h, w) px, on the grid of each frame after the first, to the frame before it.
        join: one of UNIONS, `torch.maximum`, or `torch.add`.
        held: T - 1 of (h, w) bool, where a flow is believed; None, or none at all, for everywhere.

    Yields:
        (C, h, w) at each frame. Cut unions at HALF.
    """
    state: Tensor | None = None
    for t, now in enumerate(maps):
        believed = held[t - 1] if held else None
        state = now if state is None else join(now, carry(state, flows[t - 1], believed))
        yield state


def carry(maps: Tensor, flow: Tensor, held: Tensor | None = None) -> Tensor:
    """Maps of the frame before, on the grid of this one; 0 where the flow leaves the image or is not held.

    Args:
        maps: (C, h, w) floating point.
        flow: (2, h, w) px, from this frame to the one before.
        held: (h, w) bool.
    """
    warped, inside = backward_warp(maps[None], flow[None])
    return warped[0].where(inside[0] if held is None else inside[0] & held, 0)


def _with_binary(now: Tensor, carried: Tensor) -> Tensor:
    return torch.maximum(now, (carried > HALF).to(now.dtype))


UNIONS: dict[Binarise, Join] = {"each_step": _with_binary, "end": torch.maximum}
"""How masks are joined. The first gives 0 or 1, the second shares."""
