"""Weights of flow networks: state dicts in files, read without running anything in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weclick.models.archive import check_archive

OWN_LICENCE = "weights of the user's own file; weclick does not know their licence"

_SCALAR = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS: Sequence[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
]
"""Types that training loops store beside the state dict, e.g. the best error as a numpy number."""


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict: bare, or under "state_dict" as training loops store it.

    Args:
        path: a .safetensors file, or one that torch.save wrote in its old or new format.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        check_archive(path)
        with torch.serialization.safe_globals(list(_NUMPY_SCALARS)):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # its own text advises to run the code in the file
        raise ValueError(
            f"{path}: cannot be read as weights: it is a damaged pickle, or one that wants to run code, "
            "which was refused and not run; save the bare state_dict, best as .safetensors"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{path}: cannot be read as weights ({str(error).partition(chr(10))[0]}); "
            "expected a state dict written by torch.save or safetensors"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: holds no plain state dict (name -> tensor); save `network.state_dict()`")
    return dict(state)


def check_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, path: str | Path, network: str, hint: str
) -> None:
    """Check that a state dict has exactly the keys and shapes of a network.

    Args:
        state: as read.
        expected: the network's own.
        path: named in the error.
        network: the network that it should belong to.
        hint: the likely cause.

    Raises:
        ValueError: some differ; the error tells how many, and the first of them.
    """
    shapes = {key: tuple(value.shape) for key, value in expected.items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    wrong = [key for key in {**shapes, **found} if shapes.get(key) != found.get(key)]
    if wrong:
        first = "; ".join(f"{key}: found {found.get(key)}, expected {shapes.get(key)}" for key in wrong[:3])
        raise ValueError(f"{path}: {len(wrong)} entries are not as in {network}, such as {first}; {hint}")
