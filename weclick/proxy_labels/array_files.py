"""Reads arrays of numpy that a stranger may have written: no pickle, and no more memory than is expected."""

from __future__ import annotations

import math
import zipfile
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from weclick.common.content import LIMIT_BYTES, RUN_AGAIN, read_content
from weclick.common.errors import InputError

SUM_TOLERANCE = 0.05
"""Probabilities of a cell may miss the sum of 1 by so much: half precision is coarse."""


def read_probabilities(path: Path, sha256: str, classes: int) -> np.ndarray:
    """The probabilities in a .npy file, or in a .npz file of one array.

    Args:
        path: of the file.
        sha256: hex digest that its content must have.
        classes: K.

    Returns:
        (K, h, w) float32, of sum 1 over K or, where nothing is known, of zeros.

    Raises:
        InputError: the file is none, or holds something else.
        ChangedFileError: it has another digest.
    """
    content = read_content(path, sha256, RUN_AGAIN)
    try:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(BytesIO(content)) as archive:
                names = archive.namelist()
                if len(names) != 1:
                    raise ValueError(f"it holds {len(names)} arrays, expected one")
                with archive.open(names[0]) as file:
                    values = _read(file, classes)
        else:
            values = _read(BytesIO(content), classes)
        return _checked(values.astype(np.float32))
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a damaged file may fail anywhere in zipfile and numpy
        raise InputError(
            f"{path}: cannot be read as probabilities ({error}); expected one array of numpy, float of shape "
            f"({classes}, h, w), for {classes} classes: write it by numpy.save or numpy.savez_compressed"
        ) from error


def _read(file: IO[bytes], classes: int) -> np.ndarray:
    """The array of a stream; its header is checked before anything is allocated."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"it is of format {version}, expected 1.0 or 2.0")
    shape, by_columns, dtype = readers[version](file)
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise ValueError(f"it holds {dtype}, expected float16, float32 or float64")
    expected = math.prod(shape) * dtype.itemsize
    if len(shape) != 3 or shape[0] != classes or min(shape) < 1 or expected > LIMIT_BYTES:
        raise ValueError(f"it is of shape {shape}")
    data = file.read(expected + 1)
    if len(data) != expected:
        raise ValueError(
            f"it holds {'more' if len(data) > expected else len(data)} bytes, expected {expected}"
        )
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


def _checked(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    total = values.sum(0)
    off = np.minimum(np.abs(total - 1), np.abs(total))  # zeros are cells of which nothing is known
    if values.min() < 0 or off.max() > SUM_TOLERANCE:
        raise ValueError(
            f"its values are {values.min():.3g}..{values.max():.3g}, and their sums over the classes "
            f"{total.min():.3g}..{total.max():.3g}, expected probabilities; logits need a softmax first"
        )
    return values
