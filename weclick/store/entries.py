"""Entries of the store: they are written once, committed by a rename, and then only read.

An entry is the folder `<root>/<kind>/v1/<kk>/<key>/`. It holds a Zarr v3 group, plain files and `entry.json`,
which is written last. A folder without `entry.json` is no entry. Temporary folders begin with a dot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weclick.common.disk import read_plain
from weclick.common.errors import InputError, UnreadableError
from weclick.store.arrays import StoredArray, check_file
from weclick.store.meta import KINDS, META, META_BYTES, damaged, parse_meta
from weclick.store.zarr_json import check_zarr_json

if TYPE_CHECKING:
    import zarr

    from weclick.store.array_writes import ArrayWrites

__all__ = ["KINDS", "META", "Entry", "EntryWriter", "open_entry"]

COMPRESSORS: dict[str, dict[str, Any]] = {
    "lz4": {"cname": "lz4", "clevel": 5, "shuffle": "noshuffle"},
    "zstd": {"cname": "zstd", "clevel": 3, "shuffle": "bitshuffle"},
    "zstd_bytes": {"cname": "zstd", "clevel": 5, "shuffle": "noshuffle"},
}
"""Options of Blosc, all lossless: lz4 reads frames three times as fast, zstd stores them 15 to 40 % smaller.
zstd_bytes reads faster than zstd, and stores probabilities in 63 steps of their root smaller."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A committed entry, open for reading.

    Attributes:
        meta: its entry.json.
        locate: finds or fetches its folder.
        root: the root that holds it; None if it was opened by its folder.
    """

    meta: Mapping[str, Any]
    locate: Callable[[Entry], Path]
    root: object = None

    @property
    def key(self) -> str:
        """The entry's key, 64 hex digits."""
        return self.meta["key"]

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Shapes, units, axes, and all else that the stage said of its data."""
        return self.meta["attributes"]

    @cached_property
    def path(self) -> Path:
        """Its folder on this machine. The first use fetches an entry that lies in a bucket.

        Raises:
            DamagedEntryError: the entry has only plain files, and one of them is not as it was committed.
        """
        folder, files = self.locate(self), self.meta["files"]
        if "zarr.json" not in files:  # arrays are checked at each read
            for name in files:
                check_file(folder, name, files)
        return folder

    def array(self, name: str) -> StoredArray:
        """One array of the group, read-only.

        Raises:
            DamagedEntryError: it is not as it was committed.
        """
        return StoredArray(self.path, name, self.meta["files"], owner=self)


@dataclass
class EntryWriter:
    """A stage puts arrays, files and attributes in here before its entry exists."""

    path: Path
    attributes: dict[str, Any] = field(default_factory=dict)
    _writes: ArrayWrites | None = field(default=None, init=False, repr=False)

    def close(self) -> None:
        """Wait for writes of arrays that an error left under way. No array can be written from now on."""
        if self._writes is not None:
            self._writes.settle()

    def create_array(
        self,
        name: str,
        *,
        shape: Sequence[int],
        chunks: Sequence[int],
        dtype: str | np.dtype,
        axes: str,
        codec: str = "zstd",
    ) -> zarr.Array:
        """Allocate a sharded, compressed array. A shard holds all chunks of one step of the first axis.

        Args:
            name: its name in the group.
            shape: full shape; the stage writes it step by step along the first axis.
            chunks: the unit of reading; the first must be 1.
            dtype: numpy dtype.
            axes: one letter per axis (T frames, P pairs, K classes, H W pixels), kept as an attribute.
            codec: one of COMPRESSORS.

        Raises:
            InputError: it is larger than what readers take.
        """
        import zarr  # its import takes as long as that of the rest of the store
        from zarr.codecs import BloscCodec

        from weclick.store.array_writes import ArrayWrites

        chunks = tuple(min(c, s) for c, s in zip(chunks, shape, strict=True))
        shards = (1, *(-(-s // c) * c for s, c in zip(shape[1:], chunks[1:], strict=True)))
        self._writes = self._writes or ArrayWrites(self.path)
        group = zarr.open_group(self._writes, mode="a")
        array = group.create_array(
            name,
            shape=tuple(shape),
            chunks=chunks,
            shards=shards,
            dtype=dtype,
            compressors=BloscCodec(**COMPRESSORS[codec]),
            attributes={"axes": axes},
        )
        try:
            check_zarr_json((self.path / name / "zarr.json").read_bytes())
        except ValueError as error:
            raise InputError(
                f"an array {name!r} of shape {tuple(shape)} in chunks of {chunks} is not written, since no "
                f"reader takes it: {error}; choose larger chunks (chunk_px), or smaller frames (data.shrink)"
            ) from error
        return array

    def write_file(self, name: str, data: bytes) -> None:
        """Put a plain file beside the arrays."""
        (self.path / name).write_bytes(data)


def open_entry(path: Path, kind: str = "", key: str = "") -> Entry:
    """Open a committed entry by its folder.

    Args:
        path: of the folder.
        kind, key: of the expected entry; empty takes any.

    Raises:
        InputError: the folder is no entry, or has a layout that this version does not know.
        DamagedEntryError: its entry.json is not what was committed.
    """
    return Entry(parse_meta(read_meta_file(path), path, kind, key), lambda _: path)


def read_meta_file(path: Path) -> bytes:
    """Read a folder's entry.json, up to META_BYTES and through no symbolic link.

    Raises:
        DamagedEntryError: it is missing, too long or no plain file.
        UnreadableError: the disk or share does not let it be read now.
    """
    try:
        data = read_plain(path / META, at_most=META_BYTES + 1)
    except UnreadableError:
        raise
    except OSError as error:
        raise damaged(path, f"no readable {META} ({error}), so it is not a committed entry") from error
    if len(data) > META_BYTES:
        raise damaged(path, f"{META} is longer than {META_BYTES} bytes")
    return data
