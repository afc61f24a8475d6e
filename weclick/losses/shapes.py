"""Errors that say which tensor has which shape, and which one it should have."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def check_four_axes(name: str, tensor: Tensor, axes: str) -> None:
    """Raises ValueError unless a tensor has four axes, such as "(B, K, h, w)".

    Example:
        >>> import torch
        >>> check_four_axes("probs", torch.zeros(2, 3), "(B, K, h, w)")
        Traceback (most recent call last):
        ValueError: probs has shape (2, 3), expected four axes (B, K, h, w)
    """
    if tensor.ndim != 4:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected four axes {axes}")


def check_shape(name: str, tensor: Tensor, expected: Sequence[int], because: str) -> None:
    """Raises ValueError unless a tensor has exactly the expected shape.

    Example:
        >>> import torch
        >>> check_shape("valid", torch.zeros(2, 3), (2, 1), "one value a row")
        Traceback (most recent call last):
        ValueError: valid has shape (2, 3), expected (2, 1): one value a row
    """
    if tuple(tensor.shape) != tuple(expected):
        found = tuple(tensor.shape)
        raise ValueError(f"{name} has shape {found}, expected {tuple(expected)}: {because}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError unless an option is one of its choices.

    Example:
        >>> check_choice("mode", "best", ("mean", "sum"))
        Traceback (most recent call last):
        ValueError: mode is 'best', expected one of 'mean', 'sum'
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")
