"""A device that may be chosen late: looking for GPUs loads torch, which takes seconds."""

from __future__ import annotations

from collections.abc import Callable

Device = str | Callable[[], str]
"""The name of a device, or what chooses one when there is something to compute."""


def settled(device: Device) -> str:
    """The name of a device; chooses it, if nobody has."""
    return device if isinstance(device, str) else device()
