"""Instances as arrays of numpy or torch: a mask and a class each, checked once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError


class Instances(NamedTuple):
    """The instances of a frame.

    Attributes:
        masks: (N, H, W) bool.
        classes: (N,) int64 class ids.
    """

    masks: Tensor
    classes: Tensor

    def of(self, chosen: Tensor) -> Instances:
        """Some of them, by their indices or by (N,) bool."""
        return Instances(self.masks[chosen], self.classes[chosen])

    def and_also(self, others: Instances) -> Instances:
        """These, then the others."""
        return Instances(torch.cat([self.masks, others.masks]), torch.cat([self.classes, others.classes]))


def as_instances(given: Any, what: str) -> Instances:
    """What a caller gave as instances.

    Args:
        given: masks (N, H, W) bool and classes (N,) integers, numpy or torch; a third item is not read.
        what: they are, for errors.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise InputError(
            f"{what} are a {type(given).__name__}, expected a pair of masks (N, H, W) and classes (N,), "
            "perhaps with scores (N,) as a third item"
        )
    masks = as_masks(given[0], what)
    return Instances(masks, as_classes(given[1], len(masks), what).to(masks.device))


def as_masks(masks: Any, what: str) -> Tensor:
    """(N, H, W) bool of torch, which shares memory with what was given.

    Raises:
        InputError: it has another shape or type.
    """
    found = _tensor(masks)
    if found.ndim != 3 or not found.shape[1] or not found.shape[2] or found.dtype != torch.bool:
        raise InputError(
            f"masks of {what} are {str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}, "
            "expected bool of shape (N, H, W), where N may be 0; cut soft masks first, e.g. masks > 0.5"
        )
    return found


def as_classes(classes: Any, count: int, what: str) -> Tensor:
    """(N,) int64 of torch.

    Raises:
        InputError: there are not `count` of them, or they are no integers.
    """
    found = _tensor(classes)
    whole = not found.is_floating_point() and not found.is_complex() and found.dtype != torch.bool
    if found.shape != (count,) or not (whole or not count):
        raise InputError(
            f"classes of {what} are {str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}, "
            f"expected integers of shape ({count},), one for each mask"
        )
    return found.long()


def as_flow(flow: Any, masks: Tensor, name: str) -> Tensor:
    """(2, H, W) floating point on the device of the masks.

    Raises:
        InputError: it does not lie on the masks' grid, or is not floating point.
    """
    found = _tensor(flow)
    if found.shape != (2, *masks.shape[1:]) or not found.is_floating_point():
        raise InputError(
            f"{name} is {str(found.dtype).removeprefix('torch.')} of shape {tuple(found.shape)}, expected "
            f"floating point of shape {(2, *masks.shape[1:])}, (dx, dy) in px of the masks' grid; bring both "
            "to one grid, e.g. with weclick.geometry.resize_flow"
        )
    return found.to(masks.device)


def alike(found: Tensor, given: Any) -> Any:
    """A result as what was given: numpy for numpy, torch for torch."""
    return found if isinstance(given, Tensor) else found.numpy()


def _tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        return torch.from_numpy(
            np.require(values, requirements=["C", "W"])
        )  # torch warns of read-only arrays
    except (TypeError, ValueError) as error:
        raise InputError(
            f"a {type(values).__name__} cannot be read as an array ({error}); give numpy arrays or tensors"
        ) from error
