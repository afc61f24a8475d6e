"""What losses of single pixels share: blocks that stay in a CPU's cache, and a recomputed gradient.

Such a loss needs a dozen arrays of the size of its probabilities. Block by block, these never leave the
cache. Recomputing a block in the backward pass costs less than keeping its arrays.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CACHED_VALUES = 2**17
"""Values of a block for each thread of a CPU: half a MiB in single precision, so that the arrays of a block
stay in the cache. A quarter of this size takes a fifth more time, the whole image at once a quarter more."""


def blocks(values: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Indices that cut (B, K, h, w) into blocks of whole images or rows: one block on a GPU.

    Example:
        A small batch is one block.

        >>> values = torch.zeros(2, 3, 4, 5)
        >>> [tuple(values[at].shape) for at in blocks(values)]
        [(2, 3, 4, 5)]
    """
    batch, classes, height, width = values.shape
    rows = batch * height
    if values.device.type == "cpu":
        rows = CACHED_VALUES * torch.get_num_threads() // max(1, classes * width)
    images, rows = max(1, rows // max(1, height)), max(1, rows)
    for first in range(0, batch, images):
        for top in range(0, height, rows):
            yield slice(first, first + images), slice(None), slice(top, top + rows)


def wide_dtype(values: Tensor) -> torch.dtype:
    """The type to count in: double precision stays, all else becomes single.

    Example:
        >>> wide_dtype(torch.zeros(1, dtype=torch.bfloat16))
        torch.float32
    """
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def refuse_second_derivative(loss: str) -> None:
    """Raises RuntimeError in a backward pass that is itself to be differentiated.

    Example:
        >>> with torch.no_grad():  # as in a plain backward pass
        ...     refuse_second_derivative("my_loss")
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"{loss} has no second derivative: its gradient is worked out by hand. "
            f"Call backward() without create_graph=True, or leave {loss} out of that loss."
        )
