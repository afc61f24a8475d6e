"""Other ways to read the same windows: other requests to TensorStore, no TensorStore, another codec.

None of them checks the files, so the first, which asks as weclick does, costs less than weclick's read.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import zarr
from numcodecs import blosc
from reads_peers import CHUNKS, KINDS, Reader, Windows, wanted
from reads_profile import copy_piece, pieces_of, read_pieces, window_of
from zarr.codecs import BloscCodec

from weclick.train.data.sample import Sample
from weclick.train.data.stream import Caches

ROUNDS = 5
PathOf = Callable[[str, str], Path]
"""(clip, array) -> its folder."""


def way_rows(folder: Path, caches: Caches, plans: list[Sample]) -> list[dict[str, Any]]:
    """Means over the samples of the least CPU time of some rounds, ms. The ways take turns."""
    blosc.use_threads = False
    stored = store_paths(caches)
    small = rewritten(folder / "lz4hc", stored, plans, 64)
    large = rewritten(folder / "lz4hc-128", stored, plans, 128)
    ways: dict[str, Reader] = {
        "as weclick asks": by_tensorstore(stored),
        "a request for each step": by_tensorstore(stored, apart=True),
        "one batch for all arrays": by_tensorstore(stored, apart=True, one_batch=True),
        "four threads for decoding": by_tensorstore(stored, data_copy_concurrency={"limit": 4}),
        "one thread for files": by_tensorstore(stored, file_io_concurrency={"limit": 1}),
        "a cache of one chunk": by_tensorstore(stored, cache_pool={"total_bytes_limit": 300_000}),
        "mapped files": by_tensorstore(stored, file_io_mode={"mode": "memmap"}),
        "chunk by chunk, without TensorStore": by_chunks(stored),
        "soft labels and flow in lz4hc": by_tensorstore(small),
        "soft labels and flow in lz4hc, labels in chunks of 128": by_tensorstore(large),
        "soft labels and flow in lz4hc, without TensorStore": by_chunks(small),
    }
    times: dict[str, list[list[float]]] = {name: [] for name in ways}
    for sample in plans:
        first = {name: read(sample) for name, read in ways.items()}
        check_same(first)
        for found in times.values():
            found.append([])
        for _ in range(ROUNDS):
            for name, read in ways.items():
                used = time.process_time()
                read(sample)
                times[name][-1].append(1000 * (time.process_time() - used))
    means = {name: statistics.mean(min(runs) for runs in found) for name, found in times.items()}
    base = means["as weclick asks"]
    return [
        {"way": name, "cpu_ms": round(mean, 2), "over_the_first": round(mean / base, 2)}
        for name, mean in means.items()
    ]


def check_same(found: dict[str, Windows]) -> None:
    reference = found["as weclick asks"]
    for name, windows in found.items():
        if any(not np.array_equal(window, reference[array]) for array, window in windows.items()):
            raise SystemExit(f"{name}: reads other values")


def store_paths(caches: Caches) -> PathOf:
    @cache
    def path(clip: str, name: str) -> Path:
        return caches.store.get(KINDS[name], getattr(caches, KINDS[name])[clip]).path / name

    return path


def rewritten(folder: Path, stored: PathOf, plans: list[Sample], cells: int) -> PathOf:
    """Soft labels, in chunks of `cells`, and flow once more, in lz4hc."""
    shuffles = {"probabilities": "noshuffle", "flow": "bitshuffle", "valid": "bitshuffle"}
    for clip in {sample.clip.id for sample in plans}:
        for name, shuffle in shuffles.items():
            values = np.asarray(zarr.open_array(stored(clip, name), mode="r")[:])
            whole = (1, *values.shape[1:])
            chunks = (*whole[:-2], cells, cells) if name == "probabilities" else CHUNKS[name]
            zarr.create_array(
                str(folder / clip / name),
                shape=values.shape,
                chunks=chunks,
                shards=whole,
                dtype=values.dtype,
                compressors=BloscCodec(cname="lz4hc", clevel=9, shuffle=shuffle),
            )[:] = values
    return lambda clip, name: folder / clip / name if name in shuffles else stored(clip, name)


def by_tensorstore(paths: PathOf, *, apart: bool = False, one_batch: bool = False, **how: Any) -> Reader:
    """A reader by TensorStore.

    Args:
        paths: of the arrays.
        apart: one request for each step, not one for all steps of an array.
        one_batch: all requests in one batch, not one batch for each array.
        how: resources of its context.
    """
    limits = {"cache_pool": {"total_bytes_limit": 0}, "data_copy_concurrency": {"limit": 1}}
    context = ts.Context(limits | how)

    @cache
    def opened(clip: str, name: str) -> ts.TensorStore:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{paths(clip, name)}/"}}
        return ts.open(spec, open=True, read=True, context=context).result()

    def read(sample: Sample) -> Windows:
        found, pending, shared = {}, [], ts.Batch()
        for name, steps, (rows, columns) in wanted(sample):
            array, batch = opened(sample.clip.id, name), shared if one_batch else ts.Batch()
            window = window_of(name, rows, columns, array.shape)
            target = np.empty(
                (len(steps), *(part.stop - part.start for part in window)), array.dtype.numpy_dtype
            )
            found[name] = target
            if apart:
                parts = [(array[(t, *window)], target[i]) for i, t in enumerate(steps)]
            else:
                parts = [(array.oindex[(list(steps), *window)], target)]
            for source, part in parts:
                into = ts.array(part, context=context, copy=False)
                pending.append(into.write(source[ts.d[:].translate_to[0]], batch=batch))
            if not one_batch:
                batch.submit()
        shared.submit()
        for future in pending:
            future.result()
        return found

    return read


def by_chunks(paths: PathOf) -> Reader:
    """A reader that takes chunk after chunk from the file to the window, in the thread that asks."""

    @cache
    def layout(clip: str, name: str) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype]:
        array = zarr.open_array(paths(clip, name), mode="r")
        return array.shape, array.chunks, array.dtype

    def read(sample: Sample) -> Windows:
        found = {}
        for name, steps, (rows, columns) in wanted(sample):
            shape, chunks, dtype = layout(sample.clip.id, name)
            window = window_of(name, rows, columns, shape)
            target = np.empty((len(steps), *(part.stop - part.start for part in window)), dtype)
            chunk = np.empty(chunks[1:], dtype)
            found[name] = target
            for i, t in enumerate(steps):
                path = paths(sample.clip.id, name).joinpath("c", str(t), *["0"] * (len(shape) - 1))
                pieces = list(pieces_of(str(path), shape[1:], chunk.shape, window))
                for piece, data in read_pieces(path, pieces):
                    blosc.decompress(data, chunk)
                    copy_piece(piece, chunk, target[i])
        return found

    return read
