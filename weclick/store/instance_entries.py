"""Entries of the kind "instances": the objects of each frame of a clip, as masks with a class and a score.

An entry holds one file, `instances.jsonl`, with a line for each frame in the order of its attribute `frames`:

    {"classes": [class id, ...], "scores": [0..1, ...], "counts": [run-length code, ...]}

Codes are those of `weclick.common.rle`; all masks are of the attribute `size`, [H, W] px. A reader parses the
lines of those frames alone that it asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from weclick.common.bounded_json import parse_json
from weclick.common.disk import read_plain
from weclick.common.errors import InputError
from weclick.common.rle import MASK_BYTES, decode_masks, encode_masks
from weclick.common.words import count_bytes
from weclick.manifest import Frame
from weclick.store.entries import Entry, EntryWriter
from weclick.store.meta import damaged
from weclick.store.verify import check_attributes

FILE = "instances.jsonl"

KEYS = ("classes", "scores", "counts")
"""Of a line. Each is a list, and all of them are as long."""

FILE_BYTES = 2**28
"""The longest file that is written and read. A frame of Cityscapes takes some 20 kB, so it holds 10,000."""


class FrameInstances(NamedTuple):
    """The objects of one frame.

    Attributes:
        masks: (N, H, W) bool.
        classes: (N,) int64, class ids of the data set.
        scores: (N,) float32, 0..1.
    """

    masks: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


def no_instances(size: Sequence[int]) -> FrameInstances:
    """A frame of (H, W) px without an object."""
    return FrameInstances(np.zeros((0, *size), bool), np.zeros(0, np.int64), np.zeros(0, np.float32))


def write_instances(
    entry: EntryWriter,
    frames: Iterable[tuple[Frame, FrameInstances]],
    size: Sequence[int],
    *,
    classes: Sequence[str],
) -> None:
    """Put the objects of a clip's frames into a new entry, and say in its attributes what they are.

    Args:
        entry: of the kind "instances".
        frames: of one clip, in order, each with its objects. They are taken one by one.
        size: (H, W) of the frames, px.
        classes: names of the data set's classes; the position is the class id.

    Raises:
        InputError: objects are of another size, of no class, or have a score outside 0..1; or they are more
            than `decode_masks` reads again, or their codes are too long.
    """
    lines, told = [], []
    for frame, found in frames:
        _check(found, size, len(classes), frame.name)
        lines.append(_line(found))
        told.append(frame)
    content = b"".join(lines)
    if len(content) > FILE_BYTES:
        raise InputError(
            f"the instances of {len(told)} frames take {count_bytes(len(content))}, at most "
            f"{count_bytes(FILE_BYTES)} are stored for a clip; cut the clip in two, or make frames smaller "
            "(data.shrink)"
        )
    entry.write_file(FILE, content)
    entry.attributes.update(
        {
            "frames": [frame.name for frame in told],
            "digests": [frame.digest for frame in told],
            "classes": list(classes),
            "size": [int(side) for side in size],
        }
    )


class InstanceEntry:
    """Reads an entry. Everything is checked before it is decoded.

    Args:
        entry: of the kind "instances".
        size: (H, W) of the clip's frames, px.

    Attributes:
        digests: of the frames, in order.
        classes: names of the classes that the class ids are of.

    Raises:
        DamagedEntryError: the entry is not what was committed, or its parts do not fit each other.
        InputError: it is of frames of another size.
    """

    def __init__(self, entry: Entry, size: Sequence[int]):
        check_attributes(entry)
        told = entry.attributes
        if [*told["size"]] != [*size]:
            raise InputError(
                f"{entry.path}: holds instances of frames of {told['size'][0]} x {told['size'][1]} px, "
                f"expected {size[0]} x {size[1]} px; the index belongs to another manifest: run the "
                "instances stage again"
            )
        if len(told["digests"]) != len(told["frames"]):
            raise damaged(
                entry.path, f"it names {len(told['frames'])} frames and {len(told['digests'])} digests"
            )
        self.digests: list[str] = [*told["digests"]]
        self.classes: tuple[str, ...] = tuple(told["classes"])
        self._entry, self._size = entry, (int(size[0]), int(size[1]))

    def of(self, digest: str) -> FrameInstances:
        """The objects of a frame. Of frames of the same content the first one counts.

        Raises:
            InputError: the entry has no such frame.
            DamagedEntryError: it is not what was committed, or what it says of this frame is no instances.
        """
        (classes, scores, counts), where = self._told(digest)
        codes = [{"size": [*self._size], "counts": text} for text in counts]
        try:
            masks = decode_masks(codes, self._size, where)
        except ValueError as error:
            raise damaged(self._path, f"{where} cannot be read ({error})") from error
        return FrameInstances(masks, np.array(classes, np.int64), np.array(scores, np.float32))

    def count(self, digest: str) -> int:
        """How many objects a frame has. No mask is decoded.

        Raises:
            InputError, DamagedEntryError: as in `of`.
        """
        return len(self._told(digest)[0][0])

    def _told(self, digest: str) -> tuple[tuple[list[int], list[float], list[str]], str]:
        """Class ids, scores and codes of a frame, and where they stand."""
        if digest not in self._place:
            raise InputError(
                f"{self._path}: holds no frame of the digest {digest[:12]}; the index belongs to another "
                "manifest: run the instances stage again"
            )
        number = self._place[digest]
        where = f"line {number + 1} of {FILE}"
        try:
            return _parsed(self._lines[number], len(self.classes)), where
        except ValueError as error:
            raise damaged(self._path, f"{where} cannot be read ({error})") from error

    @cached_property
    def _place(self) -> dict[str, int]:
        return {digest: i for i, digest in reversed([*enumerate(self.digests)])}

    @property
    def _path(self) -> Path:
        return self._entry.path

    @cached_property
    def _lines(self) -> list[bytes]:
        told = self._entry.meta["files"].get(FILE)
        if told is None or told["bytes"] > FILE_BYTES:
            found = "lacks" if told is None else f"says {told['bytes']} bytes of"
            raise damaged(self._path, f"it {found} {FILE}, expected at most {FILE_BYTES} bytes")
        *lines, rest = read_plain(self._path / FILE, at_most=FILE_BYTES).split(b"\n")
        if rest or len(lines) != len(self.digests):
            raise damaged(
                self._path, f"{FILE} has {len(lines)} lines for {len(self.digests)} frames, or no end"
            )
        return lines


def _line(found: FrameInstances) -> bytes:
    content = {
        "classes": [int(k) for k in found.classes],
        "scores": [float(f"{score:.9g}") for score in found.scores],  # as long as a float32 needs
        "counts": [code["counts"] for code in encode_masks(found.masks)] if len(found.masks) else [],
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _parsed(line: bytes, classes: int) -> tuple[list[int], list[float], list[str]]:
    """Class ids, scores and codes of a frame, as many of each.

    Raises:
        ValueError: the line holds something else.
    """
    raw: Any = parse_json(line)
    parts: list[Any] = [raw.get(name) for name in KEYS] if isinstance(raw, dict) else [None]
    if not all(isinstance(part, list) for part in parts) or len({len(part) for part in parts}) != 1:
        raise ValueError("it is no object of classes, scores and counts, as many of each")
    ids, scores, counts = parts
    if not all(type(k) is int and 0 <= k < classes for k in ids):
        raise ValueError(f"its classes are {str(ids)[:80]}, expected ids of {classes} classes")
    if not all(type(score) in (int, float) and 0 <= score <= 1 for score in scores):
        raise ValueError(f"its scores are {str(scores)[:80]}, expected numbers of 0..1")
    if not all(isinstance(text, str) for text in counts):
        raise ValueError("its codes are no texts")
    return ids, scores, counts


def _check(found: FrameInstances, size: Sequence[int], classes: int, name: str) -> None:
    masks, ids, scores = (np.asarray(part) for part in found)
    number = len(masks)
    if masks.shape != (number, *size) or masks.dtype != bool or not ids.shape == scores.shape == (number,):
        raise InputError(
            f"instances of frame {name!r} are {masks.dtype} of shape {masks.shape}, {ids.shape} classes and "
            f"{scores.shape} scores; expected bool of shape (N, {size[0]}, {size[1]}), (N,) and (N,)"
        )
    if masks.nbytes > MASK_BYTES:
        raise InputError(
            f"the masks of {number} instances of frame {name!r} take {count_bytes(masks.nbytes)}, at most "
            f"{count_bytes(MASK_BYTES)} are read again; keep the best, or make frames smaller (data.shrink)"
        )
    if not ((ids >= 0) & (ids < classes)).all() or not ((scores >= 0) & (scores <= 1)).all():
        raise InputError(
            f"instances of frame {name!r} have the classes {ids.tolist()[:9]} and scores "
            f"{scores.tolist()[:9]}, expected ids of {classes} classes and 0..1"
        )
