"""Entries of the store as arrays, for `weclick.open_cache`. They are read-only, and checked at each read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar, overload

import numpy as np

from weclick.common.errors import InputError
from weclick.store import Entry, StoredArray, check_attributes
from weclick.store.flow_entries import checked_stride, grid_flow
from weclick.store.instance_entries import FrameInstances, InstanceEntry
from weclick.store.steps import named_steps

T = TypeVar("T")


class NoSuchFrameError(IndexError, InputError):
    """An entry has no frame, or no pair of frames, of that name or number."""


class CachedEntry:
    """An entry of the store. Its description was checked, its data are when they are read.

    Attributes:
        key: 64 hex digits.
        kind: frames, flow, ...
        attributes: what the stage said of its data: shapes, units, axes.
    """

    def __init__(self, entry: Entry) -> None:
        check_attributes(entry)
        self._entry, self.key, self.attributes = entry, entry.key, entry.attributes
        self.kind: str = entry.meta["kind"]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kind} {self.key[:12]}>"


class PerFrame(CachedEntry, Sequence[T], Generic[T]):
    """An entry with something for each of its frames, by position or by name: `entry[0]`, `entry["00000"]`.

    Each access reads one frame, so a loop over the entry takes no more memory than one frame does.

    Attributes:
        names: of the frames, in order.
    """

    names: tuple[str, ...] = ()

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self.names = tuple(self.attributes["frames"])

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, at: int | str) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | str | slice) -> T | list[T]:
        """What belongs to a frame, or a list for several.

        Raises:
            NoSuchFrameError: the entry has no such frame. It is an IndexError and an InputError.
            DamagedEntryError: the entry is not what was committed.
        """
        if isinstance(at, slice):
            return [self._read(t) for t in range(*at.indices(len(self)))]
        return self._read(self._position(at))

    def __iter__(self) -> Iterator[T]:
        return (self._read(t) for t in range(len(self)))

    def _read(self, t: int) -> T:
        raise NotImplementedError

    def _position(self, at: int | str) -> int:
        if isinstance(at, str) and at in self.names:
            return self.names.index(at)
        if isinstance(at, int | np.integer) and -len(self) <= at < len(self):
            return int(at) % len(self)
        first = f" ({self.names[0]}, ...)" if self.names else ""
        raise NoSuchFrameError(
            f"{self!r} has no frame {at!r}; it has {len(self)} frames{first}: give a name of `names`, or a "
            "position"
        )


class CachedFrames(PerFrame[np.ndarray]):
    """Frames of a clip: `frames[t]` is (H, W, 3) uint8 RGB.

    Attributes:
        digests: of the frames, as in the manifest.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self.digests: tuple[str, ...] = tuple(self.attributes["digests"])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) px."""
        return self._array.shape[1], self._array.shape[2]

    @cached_property
    def _array(self) -> StoredArray:
        return named_steps(self._entry, "rgb")[0]

    def _read(self, t: int) -> np.ndarray:
        return self._array[t]


class CachedFlow(CachedEntry):
    """Flow between pairs of frames of a clip, on a coarse grid.

    Attributes:
        pairs: names (target, neighbour). Flow lies on the target's grid and points to the neighbour.
        stride_px: image px for each cell.
        image_size: (H, W) of the frames, px; h = ceil(H / stride_px), w likewise.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self.stride_px = checked_stride(entry)
        self.pairs: tuple[tuple[str, str], ...] = tuple(
            (target, neighbour) for target, neighbour in self.attributes["pairs"]
        )
        height, width = self.attributes["image_size"]
        self.image_size = int(height), int(width)

    def __len__(self) -> int:
        return len(self.pairs)

    def between(self, target: str, neighbour: str) -> np.ndarray:
        """The flow of a pair: (2, h, w) float32, (dx, dy) in px of the grid; dx points right, dy down.

        Times `stride_px` it is px of the image.

        Raises:
            NoSuchFrameError: the entry has no such pair.
            DamagedEntryError: the entry is not what was committed.
        """
        return grid_flow(self._entry, self._place(target, neighbour))[0]

    def valid(self, target: str, neighbour: str) -> np.ndarray:
        """Where all masks of a pair hold, (h, w) bool; everywhere if the entry has no masks.

        Raises:
            NoSuchFrameError, DamagedEntryError: as in `between`.
        """
        return grid_flow(self._entry, self._place(target, neighbour))[1]

    def _place(self, target: str, neighbour: str) -> int:
        if (target, neighbour) in self.pairs:
            return self.pairs.index((target, neighbour))
        first, second = self.pairs[0]
        raise NoSuchFrameError(
            f"{self!r} has no flow from {target!r} to {neighbour!r}; it has {len(self)} pairs "
            f"({first} to {second}, ...): see `pairs`"
        )


class CachedSoftLabels(PerFrame[np.ndarray]):
    """Probabilities of a clip's frames: `soft_labels[t]` is (K, h, w) float32 of sum 1 over K.

    Where a partial entry has no label, they are zeros.

    Attributes:
        classes: names of the K classes.
        stride_px: image px for each cell.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self.classes: tuple[str, ...] = tuple(self.attributes["classes"])
        self.stride_px = int(self.attributes["stride_px"])

    @cached_property
    def _array(self) -> StoredArray:
        return named_steps(self._entry, "probabilities")[0]

    def _read(self, t: int) -> np.ndarray:
        import torch

        from weclick.store import decode_soft_labels

        return decode_soft_labels(torch.from_numpy(self._array[t]), self.attributes).numpy()


class CachedMaps(PerFrame[np.ndarray]):
    """Class activation maps of a clip's frames: `maps[t]` is (C, h, w) float32 in 0..1.

    Attributes:
        class_ids: of the C maps.
        classes: names of all K classes.
        stride_px: image px for each cell.
        image_size: (H, W) of the frames, px.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        told: Any = self.attributes
        self.class_ids, self.classes = tuple(told["class_ids"]), tuple(told["classes"])
        self.stride_px, (height, width) = int(told["stride_px"]), told["image_size"]
        self.image_size = int(height), int(width)

    def scores(self, at: int | str) -> np.ndarray:
        """How sure the classifier is that each class occurs on a frame: (K,) float32 in 0..1.

        Raises:
            NoSuchFrameError, DamagedEntryError: as for the maps.
        """
        return named_steps(self._entry, "scores")[0][self._position(at)]

    def _read(self, t: int) -> np.ndarray:
        from weclick.proxy_labels.cams import read_maps

        return read_maps(self._entry, t)[0]


class CachedClassMaps(PerFrame[np.ndarray]):
    """Class maps of some frames of a clip: `maps[t]` is (H, W) uint8 class ids, 255 ignored.

    Proxy labels, confident labels and masks are such. `names` tells which frames have one; there may be none.

    Attributes:
        classes: names of the classes.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self.classes: tuple[str, ...] = tuple(self.attributes["classes"])

    @cached_property
    def _array(self) -> StoredArray:
        return named_steps(self._entry, "classes")[0]

    def _read(self, t: int) -> np.ndarray:
        return self._array[t]


class CachedInstances(PerFrame[FrameInstances]):
    """The objects of a clip's frames: `instances[t]` has `masks` (N, H, W) bool, `classes` and `scores`.

    Attributes:
        classes: names of the classes that the class ids are of.
        size: (H, W) of the masks, px.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        height, width = self.attributes["size"]
        self.size = int(height), int(width)
        self._instances = InstanceEntry(entry, self.size)
        self.classes = self._instances.classes

    def _read(self, t: int) -> FrameInstances:
        return self._instances.of(self._instances.digests[t])
