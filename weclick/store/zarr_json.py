"""What a zarr.json of an entry may hold: what `EntryWriter.create_array` writes, and nothing else.

Readers act on it: they allocate its shape and run its codecs.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from weclick.common.bounded_json import parse_json

DTYPES = {f"{kind}{bits}": bits // 8 for kind in ("uint", "int") for bits in (8, 16, 32, 64)} | {
    "bool": 1,
    "float16": 2,
    "float32": 4,
    "float64": 8,
}
ZARR_JSON_BYTES = 2**20
STEP_BYTES = 2**28
"""The largest step (one frame or one pair) that a reader allocates."""

INNER_CHUNKS = 2**17
"""The most chunks in the file of a step. A reader visits each."""

STEPS = 2**24
"""The longest axis that is accepted."""

_GROUP_KEYS = {"attributes", "zarr_format", "node_type"}
_ARRAY_KEYS = _GROUP_KEYS | {
    "shape",
    "data_type",
    "chunk_grid",
    "chunk_key_encoding",
    "fill_value",
    "codecs",
    "dimension_names",
    "storage_transformers",
}


class Shard(NamedTuple):
    """The layout of the file of one step."""

    chunks: int
    """Chunks in it, so entries of its index."""
    chunk_bytes: int
    """Bytes of a decoded chunk."""


def check_zarr_json(data: bytes) -> Shard | None:
    """Refuse what this version does not write.

    Args:
        data: content of a zarr.json, at most ZARR_JSON_BYTES.

    Returns:
        The layout of an array's files; None for a group.

    Raises:
        ValueError: it holds something else; the text says what was found and what was expected.
    """
    raw = parse_json(data)
    if not isinstance(raw, dict):
        raise ValueError(f"it holds a {type(raw).__name__}, expected an object")
    is_array = raw.get("node_type") == "array"
    _expect(raw.get("zarr_format") == 3, "format", raw.get("zarr_format"), "3")
    _expect(is_array or raw.get("node_type") == "group", "node_type", raw.get("node_type"), "array or group")
    strange = sorted(raw.keys() - (_ARRAY_KEYS if is_array else _GROUP_KEYS))
    _expect(not strange, "keys", strange, "only those that weclick writes")
    return _check_array(raw) if is_array else None


def _check_array(raw: dict[str, Any]) -> Shard:
    dtype: Any = raw.get("data_type")
    shape: Any = raw.get("shape")
    grid = raw.get("chunk_grid")
    _expect(isinstance(dtype, str) and dtype in DTYPES, "data_type", dtype, ", ".join(DTYPES))
    _expect(_are_sizes(shape), "shape", shape, f"numbers from 1 to {STEPS}")
    _expect(isinstance(grid, dict) and grid.get("name") == "regular", "chunk_grid", grid, "a regular one")
    chunk: Any = _part(grid, "chunk_shape")
    whole = _are_sizes(chunk) and chunk[0] == 1 and len(chunk) == len(shape)
    whole = whole and all(c >= s for c, s in zip(chunk[1:], shape[1:], strict=True))
    _expect(whole, "chunk_grid", grid, "one file for each step of the first axis")
    step_bytes = math.prod(chunk) * DTYPES[dtype]
    _expect(step_bytes <= STEP_BYTES, "chunk_grid", f"{step_bytes} bytes a step", f"at most {STEP_BYTES}")
    names = {"name": "default", "configuration": {"separator": "/"}}
    encoding, transformers = raw.get("chunk_key_encoding"), raw.get("storage_transformers", [])
    _expect(encoding == names, "chunk_key_encoding", encoding, names)
    _expect(transformers == [], "storage_transformers", transformers, "none")
    _expect(raw.get("fill_value") == 0, "fill_value", raw.get("fill_value"), "0")
    inner = _check_codecs(raw.get("codecs"), chunk)
    chunks = math.prod(chunk) // math.prod(inner)
    _expect(chunks <= INNER_CHUNKS, "chunk_shape of a shard", inner, f"at most {INNER_CHUNKS} in a file")
    return Shard(chunks, math.prod(inner) * DTYPES[dtype])


def _check_codecs(codecs: Any, outer: Any) -> Any:
    """The shape of the chunks in a shard, once its codecs are those that weclick writes, in that order."""
    (shard,) = _expect_codecs(codecs, ("sharding_indexed",))
    inner = _part(shard, "chunk_shape")
    fits = _are_sizes(inner) and len(inner) == len(outer)
    fits = fits and all(o % i == 0 for i, o in zip(inner, outer, strict=True))
    _expect(fits, "chunk_shape of a shard", inner, f"a divisor of {outer}")
    _expect_codecs(_part(shard, "codecs"), ("bytes", "blosc"))
    _expect_codecs(_part(shard, "index_codecs"), ("bytes", "crc32c"))
    place = _part(shard, "index_location") or "end"
    _expect(place == "end", "index_location", place, "end")
    return inner


def _expect_codecs(codecs: Any, names: tuple[str, ...]) -> Any:
    listed = codecs if isinstance(codecs, list) else [codecs]
    found = [each.get("name") if isinstance(each, dict) else each for each in listed]
    _expect(found == list(names), "codecs", found, f"those that weclick writes: {', '.join(names)}")
    return codecs


def _part(holder: Any, name: str) -> Any:
    configuration = holder.get("configuration")
    return configuration.get(name) if isinstance(configuration, dict) else None


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_size(size) for size in value)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= STEPS


def _expect(holds: Any, what: str, found: Any, expected: Any) -> None:
    if not holds:
        raise ValueError(f"its {what} is {str(found)[:120]}, expected {expected}")
