"""Clicks that people made: their table or log, checked against the manifest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Literal

import numpy as np

from weclick.clicks.class_names import class_id_of
from weclick.clicks.scribbles import Placed, middles, scribble_pixels, scribbles_of, uncrossed
from weclick.common.errors import InputError
from weclick.common.findings import Finding, many
from weclick.manifest import Clip, Manifest
from weclick.manifest.click_table import POINT
from weclick.manifest.frame_size import frame_size
from weclick.manifest.names import ClipNames
from weclick.manifest.people import Origin, PersonsClick, read_people

Points = dict[tuple[str, str], np.ndarray]
"""(clip id, frame name) -> (N,) array of dtype POINT."""

Origins = dict[tuple[str, str], tuple[Origin, ...]]
"""(clip id, frame name) -> the origin of each of its clicks."""

FEW = 5
"""So many clicks say nothing about the unit of their coordinates."""


@dataclass(frozen=True)
class Imported:
    """The clicks of a file that people made, of one split.

    Attributes:
        points: of each frame, sorted by (class id, y, x), without those that the file names twice.
        origins: of each click of `points`.
        findings: what looks strange in the file.
        scribbles: of frames that have any: the scribble that each point is of, from 1 on; 0 for a click.
    """

    points: Points
    origins: Origins
    findings: list[Finding]
    scribbles: Points = field(default_factory=dict)


def import_clicks(manifest: Manifest, of: Literal["targets", "scored"] = "targets") -> Imported:
    """People's clicks on the frames of a split that are learned from, or on those that are scored.

    The file's other clicks belong to another split, or to the frames of the other role. A scribble becomes
    its pixels where it is learned from; where it is scored, the pixel in its middle, so that it is one try.

    Args:
        manifest: a split, whose file of clicks is read.
        of: the role of the frames.

    Raises:
        InputError: a click lies outside its frame, has an unknown class, or contradicts another one.
    """
    assert manifest.click_file is not None
    path = manifest.path(manifest.click_file)
    names, table = ClipNames(manifest.clips), _Table(manifest.shrink, whole_scribbles=of == "targets")
    for click in read_people(path, manifest.click_file_digest):
        where = f"{path}, {click.where}"
        class_id = class_id_of(click.class_name, manifest.classes.names, where)
        clip, position = names.find(click.clip, click.frame) or (None, 0)
        if clip is None or position not in getattr(clip, of):
            continue
        if clip.id not in table.whole:
            whole = frame_size(manifest.path(clip.frames[0].image)) if manifest.shrink > 1 else clip.size
            table.whole[clip.id] = whole
        table.add(clip, clip.frames[position].name, class_id, click, where)
    return table.imported(str(path))


@dataclass
class _Table:
    """Clicks as they come in.

    Attributes:
        shrink: of the manifest.
        whole: clip id -> (H, W) px on disk.
        whole_scribbles: whether scribbles become all their pixels, or the one in the middle.
        placed: (clip id, frame name) -> its clicks, and the pixels of its scribbles.
        seen: (clip id, frame name, y, x) in pixels on disk -> class id of a click, and its place in the file.
        read: (clip id, frame name, y, x) in pixels of the frame as read -> class id of the first click.
        twice: clicks that repeat another one.
        merged: clicks whose pixel, once shrunk, is that of a click of another class.
        scribbles: (clip id, frame name) -> number of scribbles so far.
        lost: scribbles of which no pixel is left.
        largest: the largest coordinate, px on disk.
    """

    shrink: int
    whole_scribbles: bool
    whole: dict[str, tuple[int, int]] = field(default_factory=dict)
    placed: dict[tuple[str, str], list[Placed]] = field(default_factory=dict)
    seen: dict[tuple[str, str, int, int], tuple[int, str]] = field(default_factory=dict)
    read: dict[tuple[str, str, int, int], int] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    scribbles: dict[tuple[str, str], int] = field(default_factory=dict)
    lost: int = 0
    largest: int = 0

    def add(self, clip: Clip, frame: str, class_id: int, click: PersonsClick, where: str) -> None:
        """Add a click, or the pixels of a scribble."""
        if not click.points:
            self._add_click(clip, frame, class_id, click, where)
            return
        for y, x in click.points:  # before pixels are made of it
            self._check_place(clip, (str(y), str(x)), where)
        number = self.scribbles[clip.id, frame] = self.scribbles.get((clip.id, frame), 0) + 1
        for yx in scribble_pixels(click.points, where).tolist():
            self._place(clip, frame, class_id, yx, click.origin, number)

    def _check_place(self, clip: Clip, texts: tuple[str, str], where: str) -> list[float]:
        whole = self.whole[clip.id]
        yx = [float(text) for text in texts]
        for axis, value, text, side in zip("yx", yx, texts, whole, strict=True):
            if not -0.5 <= value <= side - 0.5:
                raise InputError(
                    f"{where}: {axis} = {text} lies outside the frame, expected 0..{side - 1} px"
                    f"{_hint(yx, whole)}; y counts down and x to the right, from 0 at the centre of the "
                    "upper left pixel"
                )
        return yx

    def _add_click(self, clip: Clip, frame: str, class_id: int, click: PersonsClick, where: str) -> None:
        yx = self._check_place(clip, (click.y, click.x), where)
        y, x = (_pixel(value, side, side) for value, side in zip(yx, self.whole[clip.id], strict=True))
        other, first = self.seen.setdefault((clip.id, frame, y, x), (class_id, click.where))
        if other != class_id:
            raise InputError(
                f"{where}: gives the pixel (y {y}, x {x}) of clip {clip.id!r}, frame {frame!r} another class "
                f"than {first}; keep one of the two"
            )
        if first != click.where:
            self.twice.append(f"{click.where} repeats {first}")
            return
        placed = self._place(clip, frame, class_id, yx, click.origin, 0)
        if self.read.setdefault((clip.id, frame, placed.y, placed.x), class_id) != class_id:
            self.merged.append(click.where)

    def _place(
        self, clip: Clip, frame: str, class_id: int, yx: Sequence[float], origin: Origin, scribble: int
    ) -> Placed:
        whole = self.whole[clip.id]
        self.largest = max(self.largest, *(_pixel(*each) for each in zip(yx, whole, whole, strict=True)))
        y, x = (_pixel(*each) for each in zip(yx, whole, clip.size, strict=True))
        placed = Placed(class_id, y, x, origin, scribble)
        self.placed.setdefault((clip.id, frame), []).append(placed)
        return placed

    def imported(self, path: str) -> Imported:
        """All that came in, in the order of a click table."""
        left = {name: uncrossed(found) for name, found in self.placed.items()}
        before, after = (sum(map(len, map(scribbles_of, each.values()))) for each in (self.placed, left))
        self.lost = before - after
        chosen = left if self.whole_scribbles else {name: middles(found) for name, found in left.items()}
        sort = {name: sorted(found, key=itemgetter(0, 1, 2, 4)) for name, found in chosen.items() if found}
        numbers = {
            name: np.array([each.scribble for each in found], np.int32) for name, found in sort.items()
        }
        return Imported(
            points={
                name: np.array([(y, x, class_id, 0) for class_id, y, x, *_ in found], POINT)
                for name, found in sort.items()
            },
            origins={name: tuple(each.origin for each in found) for name, found in sort.items()},
            findings=self.findings(path),
            scribbles={name: of for name, of in numbers.items() if of.any() and self.whole_scribbles},
        )

    def findings(self, path: str) -> list[Finding]:
        found = []
        if self.twice:
            todo = "each click counts once; drop the lines"
            found.append(many("warning", path, self.twice, todo))
        if self.merged:
            todo = "they contradict each other: move one of two further into its object, or lower data.shrink"
            told = f"clicks fall on the pixel of a click of another class at data.shrink {self.shrink}"
            found.append(
                Finding("warning", path, f"{len(self.merged)} {told} ({self.merged[0]} first)", todo)
            )
        if self.lost:
            told = f"{self.lost} scribbles lie wholly on clicks or scribbles of other classes"
            found.append(Finding("warning", path, told, "nothing is learned from them: take them back"))
        share = max((100 / height * 100 / width for height, width in self.whole.values()), default=1)
        if len(self.seen) > FEW and self.largest <= 100 and share < 0.1:
            sizes = " or ".join(f"{height}x{width}" for height, width in sorted({*self.whole.values()})[:3])
            told = f"all {len(self.seen)} clicks lie within 0..100 px of frames of {sizes} px (HxW)"
            todo = "if they are per cent of the image, write pixels: y * height / 100 - 0.5, and likewise x"
            found.append(Finding("warning", path, told, todo))
        return found


def _pixel(value: float, whole: int, read: int) -> int:
    """The pixel of a side of `read` px that shows a point of a side of `whole` px; halves go up."""
    return min(max(math.floor((value + 0.5) * read / whole), 0), read - 1)


def _hint(yx: Sequence[float], whole: tuple[int, int]) -> str:
    x, y = yx
    fits = all(-0.5 <= value <= side - 0.5 for value, side in zip((y, x), whole, strict=True))
    return " (with y and x exchanged it would lie inside)" if fits else ""
