"""Other ways to keep the arrays of `reads.py`, and their readers. Each has a folder of its own.

A reader gets a sample's plan and returns its windows as stored. Those that keep single arrays read the crop.
The loaders of whole samples (litdata, MosaicML Streaming, tar shards as WebDataset's) keep an item for each
frame, with the flow to it, and cut the crop out of whole arrays. They are asked for the three items of a
sample only.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import zarr
from numcodecs import Blosc
from reads_data import CLASSES, FRAMES, KINDS, SIZE, STRIDE

from weclick.geometry import crop_window
from weclick.manifest import Manifest
from weclick.store.flow_entries import CHUNK_CELLS
from weclick.train.data.sample import Sample
from weclick.train.data.stream import Caches

Windows = dict[str, np.ndarray]
Reader = Callable[[Sample], Windows]
Clips = Mapping[str, Windows]
"""Clip id -> its whole arrays by name."""

GRID = SIZE[0] // STRIDE, SIZE[1] // STRIDE
SHAPES = {"rgb": (*SIZE, 3), "probabilities": (CLASSES, *GRID), "flow": (2, *GRID), "valid": GRID}
DTYPES = {name: np.dtype(np.int16 if name == "flow" else np.uint8) for name in SHAPES}
CHUNKS = {
    "rgb": (1, 256, 256, 3),
    "probabilities": (1, CLASSES, 64, 64),
    "flow": (1, 2, CHUNK_CELLS, CHUNK_CELLS),
    "valid": (1, CHUNK_CELLS, CHUNK_CELLS),
}
CODECS = {
    "rgb": Blosc("lz4", 5, Blosc.NOSHUFFLE),
    "probabilities": Blosc("zstd", 5, Blosc.NOSHUFFLE),
    "flow": Blosc("zstd", 3, Blosc.BITSHUFFLE),
    "valid": Blosc("zstd", 3, Blosc.BITSHUFFLE),
}
"""weclick's own, for those who compress whole arrays by themselves."""


@dataclass(frozen=True)
class Peer:
    """A way to keep arrays.

    Attributes:
        open: (folder, caches) -> its reader.
        write: (folder, clips) -> None; None reads what weclick wrote.
        keeps: what lies on the disk, in words.
        needs: distributions that must be installed.
        beside: folders of others that it reads.
    """

    open: Callable[[Path, Caches], Reader]
    write: Callable[[Path, Clips], None] | None
    keeps: str
    needs: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def lacks(self) -> list[str]:
        """The distributions that are not installed."""
        return [name for name in self.needs if not is_installed(name)]


def write_peers(folder: Path, manifest: Manifest, caches: Caches) -> list[str]:
    """Write the arrays of all clips for every peer whose package is there.

    Returns:
        A line for each peer that is left out.
    """
    clips = {}
    for clip in manifest.clips:
        entries = {
            name: caches.store.get(kind, getattr(caches, kind)[clip.id]) for name, kind in KINDS.items()
        }
        stored = {name: entry.array(name) for name, entry in entries.items()}
        clips[clip.id] = {
            name: np.stack([array[t] for t in range(len(array))]) for name, array in stored.items()
        }
    for name, peer in PEERS.items():
        if peer.write and not peer.lacks:
            (folder / name).mkdir()
            peer.write(folder / name, clips)
    return [
        f"{name} is left out: pip install {' '.join(peer.lacks)}"
        for name, peer in PEERS.items()
        if peer.lacks
    ]


def open_peers(folder: Path, caches: Caches) -> dict[str, Reader]:
    """The readers of all peers whose package is there."""
    return {name: peer.open(folder / name, caches) for name, peer in PEERS.items() if not peer.lacks}


def disk_mib(folder: Path, name: str, frames: int) -> float:
    """MiB a frame that a reader's files take. What it unpacked beside them counts."""
    folders = ("store",) if name == "weclick" else (name, *PEERS[name].beside)
    files = [path for each in folders for path in (folder / each).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 2**20 / frames


def is_installed(name: str) -> bool:
    """Whether a distribution is."""
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


# --- one array at a time ----------------------------------------------------------------------------------


def wanted(sample: Sample) -> Iterator[tuple[str, list[int], tuple[slice, slice]]]:
    """(array, steps, rows and columns) of a sample."""
    for name in KINDS:
        steps = list(sample.neighbours) if name in ("flow", "valid") else [sample.target, *sample.neighbours]
        stride = 1 if name == "rgb" else STRIDE
        y, x, rows, columns = crop_window(sample.crop, sample.clip.size, source_stride=stride)
        yield name, steps, (slice(y, y + rows), slice(x, x + columns))


def read_steps(open_array: Callable[[str, str], Any]) -> Reader:
    """A reader that reads windows step by step, from arrays that stay open."""
    opened = cache(open_array)

    def read(sample: Sample) -> Windows:
        found = {}
        for name, steps, (rows, columns) in wanted(sample):
            array = opened(sample.clip.id, name)
            window = (rows, columns) if name in ("rgb", "valid") else (slice(None), rows, columns)
            found[name] = np.stack([array[(t, *window)] for t in steps])
        return found

    return read


def zarr_python(_: Path, caches: Caches) -> Reader:
    def open_array(clip: str, name: str) -> Any:
        entry = caches.store.get(KINDS[name], getattr(caches, KINDS[name])[clip])
        return zarr.open_array(entry.path / name, mode="r")

    return read_steps(open_array)


def hdf5(folder: Path, _: Caches) -> Reader:
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  (registers its codecs)
    files = cache(lambda clip: h5py.File(folder / f"{clip}.h5", "r", rdcc_nbytes=0))
    return read_steps(lambda clip, name: files(clip)[name])


def write_hdf5(folder: Path, clips: Clips) -> None:
    compression, others = hdf5_codecs()
    for clip, arrays in clips.items():
        with h5py.File(folder / f"{clip}.h5", "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array, chunks=CHUNKS[name], **compression.get(name, others))


def hdf5_codecs() -> tuple[dict[str, Any], Any]:
    """How to compress arrays by name, and all others: as ours are if hdf5plugin is installed."""
    try:
        from hdf5plugin import Blosc as Filter
    except ImportError:
        return {}, {"compression": "lzf", "shuffle": True}
    plain = {
        "rgb": Filter(cname="lz4", shuffle=Filter.NOSHUFFLE),
        "probabilities": Filter(cname="zstd", clevel=5, shuffle=Filter.NOSHUFFLE),
    }
    return plain, Filter(cname="zstd", clevel=3, shuffle=Filter.BITSHUFFLE)


def memmap(folder: Path, _: Caches) -> Reader:
    return read_steps(lambda clip, name: np.load(folder / f"{clip}-{name}.npy", mmap_mode="r"))


def write_npy(folder: Path, clips: Clips) -> None:
    for clip, arrays in clips.items():
        for name, array in arrays.items():
            np.save(folder / f"{clip}-{name}.npy", array)


# --- whole arrays -----------------------------------------------------------------------------------------


def whole_steps(load: Callable[[str, int], Callable[[str], np.ndarray]]) -> Reader:
    """A reader of items: `load(clip, frame)` gives what gives the item's whole arrays by name."""

    def read(sample: Sample) -> Windows:
        items = {t: load(sample.clip.id, t) for t in (sample.target, *sample.neighbours)}
        found = {}
        for name, steps, (rows, columns) in wanted(sample):
            window = (rows, columns) if name in ("rgb", "valid") else (slice(None), rows, columns)
            found[name] = np.stack([items[t](name)[window] for t in steps])
        return found

    return read


def items(clips: Clips) -> Iterator[Windows]:
    """An item for each frame of all clips; that of a target has flow of no row."""
    for arrays in clips.values():
        for t in range(FRAMES):
            yield {
                name: array[t] if t < len(array) else array[0][..., :0, :] for name, array in arrays.items()
            }


def compressed(item: Windows) -> dict[str, bytes]:
    """An item whose arrays are compressed as our chunks are."""
    return {
        name: CODECS[name].encode(np.ascontiguousarray(array)) if array.size else b""
        for name, array in item.items()
    }


def decompressed(name: str, data: bytes) -> np.ndarray:
    return plain(name, CODECS[name].decode(data))


def plain(name: str, data: bytes) -> np.ndarray:
    return np.frombuffer(data, DTYPES[name]).reshape(SHAPES[name])


def npz_png(folder: Path, _: Caches) -> Reader:
    """A file for every frame and pair. The PNG files lie there already."""

    def load(clip: str, t: int) -> Callable[[str], np.ndarray]:
        def array(name: str) -> np.ndarray:
            if name == "rgb":
                png = folder.parent / "png" / clip / f"{t}.png"
                return cv2.cvtColor(cv2.imread(str(png)), cv2.COLOR_BGR2RGB)
            kind = "labels" if name == "probabilities" else "flow"
            return np.load(folder / f"{clip}-{t}-{kind}.npz")[name]

        return array

    return whole_steps(load)


def write_npz(folder: Path, clips: Clips) -> None:
    for clip, arrays in clips.items():
        for t in range(FRAMES):
            np.savez_compressed(folder / f"{clip}-{t}-labels.npz", probabilities=arrays["probabilities"][t])
        for t in range(FRAMES - 1):
            pair = {name: arrays[name][t] for name in ("flow", "valid")}
            np.savez_compressed(folder / f"{clip}-{t}-flow.npz", **pair)


def tar_shards(folder: Path, _: Caches) -> Reader:
    """WebDataset itself reads tar files in their order only, so an index in memory finds the members."""
    shards = cache(lambda clip: tarfile.open(folder / f"{clip}.tar"))  # noqa: SIM115  (kept open)
    return whole_steps(
        lambda clip, t: lambda name: decompressed(name, shards(clip).extractfile(f"{t}.{name}").read())
    )


def write_tar(folder: Path, clips: Clips) -> None:
    for clip, arrays in clips.items():
        with tarfile.open(folder / f"{clip}.tar", "w") as tar:
            for t, item in enumerate(items({clip: arrays})):
                for name, data in compressed(item).items():
                    member = tarfile.TarInfo(f"{t}.{name}")
                    member.size = len(data)
                    tar.addfile(member, BytesIO(data))


def litdata(decode: Callable[[str, Any], np.ndarray]) -> Callable[[Path, Caches], Reader]:
    def open_set(folder: Path, _: Caches) -> Reader:
        from litdata import StreamingDataset

        return read_items(StreamingDataset(str(folder)), decode)

    return open_set


def write_litdata(encode: Callable[[Windows], Any], **how: Any) -> Callable[[Path, Clips], None]:
    def write(folder: Path, clips: Clips) -> None:
        from litdata.streaming import Cache

        chunks = Cache(str(folder), chunk_bytes="64MB", **how)
        for i, item in enumerate(items(clips)):
            chunks[i] = encode(item)
        chunks.done()
        chunks.merge()

    return write


def mosaicml(decode: Callable[[str, Any], np.ndarray]) -> Callable[[Path, Caches], Reader]:
    def open_set(folder: Path, _: Caches) -> Reader:
        from streaming import StreamingDataset

        return read_items(StreamingDataset(local=str(folder), batch_size=1), decode)

    return open_set


def write_mosaicml(
    encode: Callable[[Windows], dict[str, bytes]], **how: Any
) -> Callable[[Path, Clips], None]:
    def write(folder: Path, clips: Clips) -> None:
        from streaming import MDSWriter

        folder.rmdir()  # MDSWriter makes it
        with MDSWriter(out=str(folder), columns=dict.fromkeys(KINDS, "bytes"), **how) as shards:
            for item in items(clips):
                shards.write(encode(item))

    return write


def read_items(data: Any, decode: Callable[[str, Any], np.ndarray]) -> Reader:
    """A reader of a data set whose items are the frames of clip "0", of clip "1", and so on."""

    def load(clip: str, t: int) -> Callable[[str], np.ndarray]:
        item = data[int(clip) * FRAMES + t]
        return lambda name: decode(name, item[name])

    return whole_steps(load)


def as_bytes(item: Windows) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in item.items()}


def as_arrays(item: Windows) -> Windows:
    return {name: np.ascontiguousarray(array) for name, array in item.items()}


def as_it_is(_: str, array: np.ndarray) -> np.ndarray:
    return array


OWN = "whole arrays, compressed as our chunks"
HDF5 = "chunks as ours, " + (
    "compressed as ours" if is_installed("hdf5plugin") else "in lzf with shuffle: hdf5plugin is missing"
)
LITDATA, MOSAICML = ("litdata",), ("mosaicml-streaming",)
PEERS = {
    "memmap": Peer(memmap, write_npy, "raw arrays"),
    "hdf5": Peer(hdf5, write_hdf5, HDF5),
    "zarr-python": Peer(zarr_python, None, "the same as weclick", beside=("store",)),
    "litdata": Peer(litdata(decompressed), write_litdata(compressed), OWN, LITDATA),
    "litdata zstd": Peer(
        litdata(as_it_is),
        write_litdata(as_arrays, compression="zstd:3", compression_level="sample"),
        "whole items, compressed by litdata",
        (*LITDATA, "zstd"),
    ),
    "litdata raw": Peer(litdata(as_it_is), write_litdata(as_arrays), "raw items", LITDATA),
    "mosaicml": Peer(mosaicml(decompressed), write_mosaicml(compressed), OWN, MOSAICML),
    "mosaicml zstd": Peer(
        mosaicml(plain),
        write_mosaicml(as_bytes, compression="zstd:3"),
        "compressed shards, and raw ones beside them from the first read on",
        MOSAICML,
    ),
    "tar": Peer(tar_shards, write_tar, OWN),
    "npz+png": Peer(npz_png, write_npz, "a file a frame or pair", beside=("png",)),
}
