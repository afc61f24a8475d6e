"""Where the time of a sample's read goes, part by part, and what other codecs would do to it.

Each part is done by itself with the bytes that the read handles: the compressed chunks that its windows
touch are read, decoded and copied out, one after the other, by one core. What weclick takes beyond that goes
to the thread that asks (checks of files, requests) and to TensorStore's own work on each request.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import blosc
from reads_peers import CHUNKS, KINDS, wanted

from weclick.train.data.sample import Sample
from weclick.train.data.stream import Caches, Stream

ROUNDS = 5
INDEX_BYTES, CHECKSUM_BYTES, ABSENT = 16, 4, 2**64 - 1
"""Of the index at the end of a file of chunks."""


@dataclass(frozen=True)
class Piece:
    """A chunk that a window touches: where it lies in its file, and what part of it goes where."""

    offset: int
    length: int
    inside: tuple[slice, ...]
    into: tuple[slice, ...]


def profile_read(stream: Stream, caches: Caches, plans: list[Sample]) -> dict[str, Any]:
    """Means over the samples, CPU ms of one core: the parts by array, and the whole read."""
    blosc.use_threads = False
    parts = [sample_parts(caches, sample) for sample in plans]
    rows = []
    for name in KINDS:
        row: dict[str, Any] = {"array": name}
        for key in parts[0][name]:
            row[key] = round(statistics.mean(each[name][key] for each in parts), 3)
        row["outside_the_crop"] = round(1 - row["wanted_mib"] / row["decoded_mib"], 2)
        rows.append(row)
    read, asking = whole_read_ms(stream, plans)
    whole = {key: sum(row[key] for row in rows) for key in ("file_ms", "decode_ms", "copy_ms")}
    whole |= {"asking_ms": asking, "rest_ms": read - asking - sum(whole.values()), "read_ms": read}
    return {"arrays": rows, "whole": {key: round(value, 3) for key, value in whole.items()}}


def sample_parts(caches: Caches, sample: Sample) -> dict[str, dict[str, float]]:
    found = {}
    for name, steps, (rows, columns) in wanted(sample):
        entry = caches.store.get(KINDS[name], getattr(caches, KINDS[name])[sample.clip.id])
        array = entry.array(name)
        window = window_of(name, rows, columns, array.shape)
        chunk = np.empty(CHUNKS[name][1:], array.dtype)
        target = np.empty([part.stop - part.start for part in window], array.dtype)
        parts = {
            "chunks": 0.0,
            "decoded_mib": 0.0,
            "wanted_mib": 0.0,
            "file_ms": 0.0,
            "decode_ms": 0.0,
            "copy_ms": 0.0,
        }
        for step in steps:
            path = entry.path.joinpath(name, "c", str(step), *["0"] * (len(array.shape) - 1))
            pieces = list(pieces_of(str(path), array.shape[1:], chunk.shape, window))
            data = [each for _, each in read_pieces(path, pieces)]
            parts["chunks"] += len(pieces)
            parts["decoded_mib"] += len(pieces) * chunk.nbytes / 2**20
            parts["wanted_mib"] += target.nbytes / 2**20
            parts["file_ms"] += best_ms(lambda p=path, a=pieces: list(read_pieces(p, a)))
            parts["decode_ms"] += best_ms(lambda d=data, c=chunk: [blosc.decompress(each, c) for each in d])
            parts["copy_ms"] += best_ms(lambda a=pieces, c=chunk, t=target: [copy_piece(p, c, t) for p in a])
        found[name] = parts
    return found


def window_of(name: str, rows: slice, columns: slice, shape: tuple[int, ...]) -> tuple[slice, ...]:
    if name == "rgb":
        return rows, columns, slice(0, shape[-1])
    return (rows, columns) if name == "valid" else (slice(0, shape[1]), rows, columns)


def pieces_of(
    path: str, shape: tuple[int, ...], chunk: tuple[int, ...], window: tuple[slice, ...]
) -> Iterator[Piece]:
    """The chunks of a file that a window touches and that are stored."""
    grid = [-(-whole // part) for whole, part in zip(shape, chunk, strict=True)]
    index = shard_index(path, math.prod(grid)).reshape(*grid, 2)
    for at in itertools.product(
        *(range(w.start // c, (w.stop - 1) // c + 1) for w, c in zip(window, chunk, strict=True))
    ):
        offset, length = index[at].tolist()
        if offset == ABSENT:
            continue
        lows = [max(w.start, i * c) for w, i, c in zip(window, at, chunk, strict=True)]
        highs = [min(w.stop, (i + 1) * c) for w, i, c in zip(window, at, chunk, strict=True)]
        sides = list(zip(lows, highs, window, at, chunk, strict=True))
        yield Piece(
            offset,
            length,
            tuple(slice(low - i * c, high - i * c) for low, high, _, i, c in sides),
            tuple(slice(low - w.start, high - w.start) for low, high, w, _, _ in sides),
        )


@cache
def shard_index(path: str, chunks: int) -> np.ndarray:
    data = Path(path).read_bytes()
    return np.frombuffer(data[-CHECKSUM_BYTES - INDEX_BYTES * chunks : -CHECKSUM_BYTES], "<u8")


def read_pieces(path: Path, pieces: list[Piece]) -> Iterator[tuple[Piece, bytes]]:
    """The compressed bytes of chunks, one after the other."""
    file = os.open(path, os.O_RDONLY)
    try:
        for piece in pieces:
            yield piece, os.pread(file, piece.length, piece.offset)
    finally:
        os.close(file)


def copy_piece(piece: Piece, chunk: np.ndarray, target: np.ndarray) -> None:
    target[piece.into] = chunk[piece.inside]


def whole_read_ms(stream: Stream, plans: list[Sample]) -> tuple[float, float]:
    """Mean CPU ms of the process for a read by weclick, and of the thread that asks alone."""
    whole, asking = [], []
    for sample in plans:
        runs = []
        for _ in range(ROUNDS):
            used, asked = time.process_time(), time.thread_time()
            stream.read([sample])
            runs.append((time.process_time() - used, time.thread_time() - asked))
        whole.append(1000 * min(run[0] for run in runs))
        asking.append(1000 * min(run[1] for run in runs))
    return statistics.mean(whole), statistics.mean(asking)


def best_ms(work: Callable[[], Any]) -> float:
    """The least CPU time of some rounds."""
    times = []
    for _ in range(ROUNDS):
        used = time.process_time()
        work()
        times.append(time.process_time() - used)
    return 1000 * min(times)


# --- codecs -----------------------------------------------------------------------------------------------

TRIED = {
    "rgb": (("lz4", 5, blosc.NOSHUFFLE), ("lz4hc", 9, blosc.NOSHUFFLE), ("lz4", 0, blosc.NOSHUFFLE)),
    "probabilities": (
        ("zstd", 5, blosc.NOSHUFFLE),
        ("zstd", 1, blosc.NOSHUFFLE),
        ("zstd", 9, blosc.NOSHUFFLE),
        ("lz4", 5, blosc.NOSHUFFLE),
        ("lz4hc", 9, blosc.NOSHUFFLE),
    ),
    "flow": (("zstd", 3, blosc.BITSHUFFLE), ("lz4", 5, blosc.BITSHUFFLE), ("lz4hc", 9, blosc.BITSHUFFLE)),
}
"""Codec, level and shuffle of each array; the first is ours. Level 0 does not compress."""


def codec_rows(folder: Path, clip: str) -> list[dict[str, Any]]:
    """Size and time of one whole step of each array, in our chunks and in others."""
    blosc.use_threads = False
    rows = []
    for name, tried in TRIED.items():
        step = np.load(folder / f"{clip}-{name}.npy", mmap_mode="r")[0]
        side = CHUNKS[name][2]
        for chunk_px in (side // 2, side, 2 * side):
            for codec, level, shuffle in tried:
                rows.append(codec_row(name, np.asarray(step), chunk_px, codec, level, shuffle))
    return rows


def codec_row(name: str, step: np.ndarray, side: int, codec: str, level: int, shuffle: int) -> dict[str, Any]:
    chunks = list(cut(step, side, 0 if name == "rgb" else 1))
    began = time.process_time()
    encoded = [blosc.compress(chunk, codec.encode(), level, shuffle) for chunk in chunks]
    encode_ms = 1000 * (time.process_time() - began)
    out = np.empty_like(chunks[0])
    return {
        "array": name,
        "chunk": side,
        "codec": f"{codec} {level}" + (" bitshuffle" if shuffle else ""),
        "mib": round(sum(map(len, encoded)) / 2**20, 3),
        "decode_ms": round(best_ms(lambda: [blosc.decompress(each, out) for each in encoded]), 2),
        "encode_ms": round(encode_ms, 1),
    }


def cut(step: np.ndarray, side: int, axis: int) -> Iterator[np.ndarray]:
    """Chunks of `side` rows and columns; rows are the axis `axis`."""
    for y in range(0, step.shape[axis], side):
        for x in range(0, step.shape[axis + 1], side):
            window = (slice(y, y + side), slice(x, x + side))
            yield np.ascontiguousarray(step[(slice(None),) * axis + window])
