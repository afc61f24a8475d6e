"""Functions that take numpy arrays and tensors give back what they were given."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError


def as_tensor(values: Any, what: str) -> Tensor:
    """What a caller gave, as a tensor. It shares memory with what was given where torch can do so.

    Args:
        values: numbers as an array of numpy, also a mirrored, read-only or foreign-endian one; a tensor; or
            lists.
        what: they are, for errors.

    Raises:
        InputError: they are no array of real numbers.
    """
    try:
        if isinstance(values, np.ndarray):  # torch knows no negative stride, and warns of read-only arrays
            values = torch.from_numpy(np.require(values, values.dtype.newbyteorder("="), ["C", "W"]))
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what} are a {type(values).__name__} that cannot be read as numbers ({error}); give an array "
            "of numpy or a tensor"
        ) from error
    if found.is_complex():
        raise InputError(f"{what} are complex numbers, expected real ones; take their real part or modulus")
    return found


def as_given(result: Tensor, given: Any) -> Any:
    """A tensor, as an array of numpy if `given` is one."""
    return result.numpy() if isinstance(given, np.ndarray) else result
