"""Functions that take numpy arrays and tensors give back what they were given."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor


def as_given(result: Tensor, given: Any) -> Any:
    """A tensor, as an array of numpy if `given` is one."""
    return result.numpy() if isinstance(given, np.ndarray) else result
