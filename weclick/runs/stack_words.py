"""What a network sees of the motion around a frame, in words."""

from __future__ import annotations

from weclick.common.words import plural
from weclick.geometry import StackOptions
from weclick.geometry.stack import LIMIT

EDGES = {"repeat": "the nearest one", "zero": "no motion"}
"""`stack.edge` -> what stands for a flow that there is not."""


def place(frames: int) -> str:
    """A frame by its distance from the target: -1, 0, +1."""
    return f"{frames:+d}" if frames else "0"


def stack_words(stack: StackOptions) -> str:
    """How the stacks are made that a network looks at, without the end of a sentence.

    Example:
        >>> stack_words(StackOptions(length=2, first=-1)).split("; ")
        ['2 flows, from frame -1 to +1', '8 px are 1, 20 px the most', 'where there is none, the nearest one']
    """
    camera = " without the camera's motion" if stack.motion == "residual" else ""
    return (
        f"{plural(stack.length, 'flow')}{camera}, from frame {place(stack.first)} to {place(stack.last)}; "
        f"{stack.scale_px:g} px are 1, {LIMIT * stack.scale_px:g} px the most; where there is none, "
        f"{EDGES[stack.edge]}"
    )
