"""Stacks of flow: what a motion stream looks at (Simonyan and Zisserman 2014; Saleh et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

LIMIT = 2.5
"""Values beyond are clipped. With `scale_px` 8 that is 20 px, the range of flow that is kept as an image."""

Flow = TypeVar("Flow")


class StackOptions(NamedTuple):
    """How a stack is made.

    Attributes:
        length: L, the number of flows.
        first: where the first of them begins, in frames from the target.
        edge: what stands for a flow that there is not, as at the ends of a clip: the nearest one (repeat), or
            zeros.
        scale_px: motion that becomes 1.
        motion: raw, or residual: without that of the camera, see `dominant_homography`.
    """

    length: int = 10
    first: int = -4
    edge: str = "repeat"
    scale_px: float = 8.0
    motion: str = "raw"

    @property
    def last(self) -> int:
        """How many frames after the target the last flow ends."""
        return self.first + self.length

    def slots(self, known: Mapping[int, Flow], target: int) -> list[Flow | None]:
        """The flows of a target's stack, oldest first; None stands for zeros.

        Args:
            known: number of a frame -> its flow to the next one.
            target: number of the target.

        Example:
            >>> StackOptions(length=4, first=-2).slots({7: "a", 9: "b"}, target=8)
            ['a', 'a', 'a', 'b']
        """
        wanted = range(target + self.first, target + self.last)
        there = [number for number in wanted if number in known]
        if not there or self.edge == "zero":
            return [known.get(number) for number in wanted]
        return [known[min(there, key=lambda other: abs(other - number))] for number in wanted]


def each_once(found: Sequence[Flow | None]) -> tuple[list[Flow], list[int | None]]:
    """The flows of a stack without repetition, in order; and for each slot its position among these, or None.

    Example:
        >>> each_once(["a", "a", None, "b"])
        (['a', 'b'], [0, 0, None, 1])
    """
    used = list(dict.fromkeys(flow for flow in found if flow is not None))
    return used, [None if flow is None else used.index(flow) for flow in found]


def motion_stack(flows: Tensor, slots: Sequence[int | None], scale_px: float) -> Tensor:
    """Flows as the channels of one image: u and v of each step, in order.

    Args:
        flows: (n, 2, H, W) float32 px of the input.
        slots: L positions among these flows, the oldest first; None stands for zeros.
        scale_px: motion that becomes 1; what is beyond LIMIT is clipped.

    Returns:
        (2 L, H, W) float32.

    Example:
        >>> motion_stack(torch.full((1, 2, 1, 1), 4.0), [0, None], scale_px=8).flatten().tolist()
        [0.5, 0.5, 0.0, 0.0]
    """
    whole = flows.new_empty((len(slots), *flows.shape[1:]))
    for place, slot in zip(whole, slots, strict=True):  # one by one, so that each stays in the cache
        if slot is None:
            place.zero_()
        else:
            torch.mul(flows[slot], 1 / scale_px, out=place).clamp_(-LIMIT, LIMIT)
    return whole.flatten(0, 1)
