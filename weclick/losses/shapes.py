"""Errors that say which tensor has which shape, and which one it should have."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check_four_axes(name: str, tensor: Tensor, axes: str) -> None:
    """Raises ValueError unless a tensor has four axes, such as "(B, K, h, w)"."""
    if tensor.ndim != 4:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected four axes {axes}")


def check_shape(name: str, tensor: Tensor, expected: Sequence[int], because: str) -> None:
    """Raises ValueError unless a tensor has exactly the expected shape."""
    if tuple(tensor.shape) != tuple(expected):
        found = tuple(tensor.shape)
        raise ValueError(f"{name} has shape {found}, expected {tuple(expected)}: {because}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError unless an option is one of its choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")
