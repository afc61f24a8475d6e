"""Rows in an HDF5 file. What one promises that others wrote is bounded before anything is allocated."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from weclick.common.digest import canonical_json
from weclick.common.files import write_bytes

ROWS, ROWS_BYTES = 2**22, 2**28
"""The most rows that are read, and the memory that they may take."""

FILE_BYTES = 2**28
ATTRIBUTES, ATTRIBUTE_BYTES = 64, 2**20
_VALUES = (h5py.h5t.TypeStringID, h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, h5py.h5t.TypeEnumID)
"""What an attribute may hold. HDF5 crashes the process at some false lists of any length and references."""

_PLAIN = {(), (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE), (h5py.h5z.FILTER_DEFLATE,)}


def write_rows(path: Path, name: str, rows: np.ndarray, attributes: Mapping[str, Any]) -> None:
    """Write rows as a dataset of a file of its own, at once and whole; equal rows give equal files.

    Args:
        path: of the file.
        name: of the dataset.
        rows: (N,) with named columns.
        attributes: of the dataset; `sha256`, the digest of rows and attributes, is added.
    """
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        dataset = file.create_dataset(
            name, data=rows, track_times=False, compression="gzip", shuffle=True, maxshape=(None,)
        )
        dataset.attrs.update({**attributes, "sha256": rows_digest(rows, attributes)})
    write_bytes(path, content.getvalue())


def rows_digest(rows: np.ndarray, attributes: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the content of a file."""
    told = {name: str(value) for name, value in attributes.items()}
    digest = hashlib.sha256(canonical_json([str(rows.dtype.names), told]).encode())
    digest.update(np.ascontiguousarray(rows).tobytes())
    return digest.hexdigest()


def text_type(column: Sequence[bytes]) -> np.dtype:
    """The type of a column of texts. They have a fixed length, since only those are compressed."""
    return h5py.string_dtype("utf-8", max(map(len, column), default=1) or 1)


def holds_rows(path: Path, name: str) -> bool:
    """Whether a file has a dataset of that name. One that cannot be read has none."""
    try:
        read_rows(path, name)
    except MemoryError:  # says nothing about the file
        raise
    except Exception:  # a damaged file fails anywhere in HDF5; whoever reads it tells what is wrong
        return False
    return True


def read_rows(path: Path, name: str) -> tuple[np.ndarray, dict[str, Any]]:
    """A one-dimensional dataset and its attributes.

    Raises:
        ValueError: it promises too much, lies in another file, or is stored as weclick never stores it.
        Exception: the file is damaged; HDF5 has many errors for that.
    """
    if (size := path.stat().st_size) > FILE_BYTES:
        raise ValueError(f"it has {size} bytes, at most {FILE_BYTES} are read")
    _check_heaps(path.read_bytes())
    with h5py.File(path, "r") as file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"it holds no dataset {name!r} of its own")
        dataset = file[name]
        _check(dataset, name)
        return dataset[:], {key: dataset.attrs[key] for key in dataset.attrs}


def _check_heaps(content: bytes) -> None:
    """Walk the heaps of texts. HDF5 itself goes on for ever where free space has no length."""
    start = content.find(b"GCOL\1")
    while start >= 0:
        (size,) = struct.unpack_from("<Q", content[start : start + 16].ljust(16, b"\0"), 8)
        at, end = start + 16, min(start + size, len(content))
        while at + 16 <= end:
            number, length = struct.unpack_from("<H6xQ", content, at)
            if not number and length < 16:
                raise ValueError(f"a heap of texts at byte {start} has no end")
            at += length if not number else 16 + -(-length // 8) * 8
        start = content.find(b"GCOL\1", start + 1)


def _check(dataset: h5py.Dataset, name: str) -> None:
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1 or dataset.dtype.names is None:
        raise ValueError(f"its {name!r} is no table of rows")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"the rows of its {name!r} lie in other files")
    itemsize, rows = dataset.dtype.itemsize, len(dataset)
    if rows > ROWS or rows * itemsize > ROWS_BYTES:
        raise ValueError(
            f"it promises {rows} rows of {itemsize} bytes, at most {ROWS} and {ROWS_BYTES} bytes"
        )
    if any(dataset.dtype[column].hasobject for column in dataset.dtype.names):
        raise ValueError("a column has texts of any length, expected texts of one length")
    for key in dataset.attrs:
        _check_attribute(dataset, key)
    _check_chunks(dataset, itemsize)


def _check_attribute(dataset: h5py.Dataset, key: str) -> None:
    found = dataset.attrs.get_id(key)
    if not isinstance(found.get_type(), _VALUES):
        raise ValueError(f"its attribute {key[:80]!r} holds neither texts nor numbers")
    if (
        len(dataset.attrs) > ATTRIBUTES
        or max(found.get_storage_size(), found.dtype.itemsize) > ATTRIBUTE_BYTES
    ):
        raise ValueError(
            f"its attribute {key[:80]!r} is larger than {ATTRIBUTE_BYTES} bytes, or one of too many"
        )


def _check_chunks(dataset: h5py.Dataset, itemsize: int) -> None:
    """Inflate each chunk up to its promised size. HDF5 itself goes on for as long as there is something."""
    plan = dataset.id.get_create_plist()
    filters = tuple(plan.get_filter(i)[0] for i in range(plan.get_nfilters()))
    if filters not in _PLAIN:
        raise ValueError(f"its rows went through the filters {filters}, expected gzip alone")
    if dataset.chunks is None:
        return
    chunk_bytes = dataset.chunks[0] * itemsize
    if chunk_bytes > ROWS_BYTES:
        raise ValueError(f"it promises chunks of {chunk_bytes} bytes, at most {ROWS_BYTES}")
    for number in range(dataset.id.get_num_chunks()):
        stored = dataset.id.get_chunk_info(number)
        _, packed = dataset.id.read_direct_chunk(stored.chunk_offset)
        inflating = zlib.decompressobj()
        if (
            filters
            and not stored.filter_mask
            and len(inflating.decompress(packed, chunk_bytes + 1)) > chunk_bytes
        ):
            raise ValueError(
                f"a chunk of {len(packed)} bytes inflates beyond the {chunk_bytes} that it promises"
            )
