"""People's clicks, each with its frame and all that is known of it: for checks, and for the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weclick.clicks.checks import Click
from weclick.clicks.labels import Labels
from weclick.manifest import Clip, Manifest
from weclick.manifest.click_log import read_click_log
from weclick.manifest.frame_size import frame_size
from weclick.manifest.names import ClipNames
from weclick.manifest.people import LOG_SUFFIX, Origin, PersonsClick, read_people
from weclick.manifest.read import read_clip


@dataclass(frozen=True)
class PlacedClick:
    """A click or a scribble of people on a frame of a manifest.

    Attributes:
        click: names as the manifest spells them, px of the frame at its full size. A scribble's place is the
            one in the middle of those that it is drawn through.
        manifest: of the frame's split.
        clip: of the manifest.
        position: of the frame in the clip.
        size: (H, W) px of the frame at its full size.
        class_id: of the class.
        origin: who made it.
        time: when, as ISO 8601; empty where the file does not tell.
        is_held_out: whether its frame is scored, and nothing is learned from it.
        is_scribble: whether it is a line.
    """

    click: Click
    manifest: Manifest
    clip: Clip
    position: int
    size: tuple[int, int]
    class_id: int
    origin: Origin
    time: str
    is_held_out: bool
    is_scribble: bool

    @property
    def share(self) -> tuple[float, float]:
        """y and x of its pixel's centre in shares of the frame's sides, 0..1."""
        return (self.click.y + 0.5) / self.size[0], (self.click.x + 0.5) / self.size[1]


def placed_clicks(train: Manifest | None, scored: Manifest | None = None) -> list[PlacedClick]:
    """People's clicks on the targets of a split and on the scored frames of another, in their file's order.

    Clicks on other frames and ones that `import_clicks` refuses are left out.

    Args:
        train: whose targets count; None: none.
        scored: whose scored frames count; None: none.

    Raises:
        ChangedFileError, FileNotFoundError, ValueError: the file of clicks cannot be read.
    """
    splits = [(train, False)] * (train is not None) + [(scored, True)] * (scored is not None)
    manifests = [manifest for manifest, _ in splits if manifest and manifest.click_file]
    if not manifests:
        return []
    path, digest = manifests[0].path(manifests[0].click_file or ""), manifests[0].click_file_digest
    people, times = read_people(path, digest), _times(path, digest)
    placers = [_Placer(manifest, is_held_out) for manifest, is_held_out in splits if manifest]
    found = (placer.place(each, times) for each in people for placer in placers)
    return [each for each in found if each]


def frames_of(clicks: Iterable[PlacedClick]) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Every frame that has one of some clicks, read once.

    Returns:
        (H, W, 3) uint8 RGB, shrunk as the manifest says, and the positions of its clicks in the sequence.

    Raises:
        ValueError: a frame cannot be read.
    """
    by_clip: dict[tuple[bool, str], dict[int, list[int]]] = {}
    firsts: dict[tuple[bool, str], PlacedClick] = {}
    for i, each in enumerate(clicks):
        key = each.is_held_out, each.clip.id
        firsts.setdefault(key, each)
        by_clip.setdefault(key, {}).setdefault(each.position, []).append(i)
    for key, frames in by_clip.items():
        one, ordered = firsts[key], sorted(frames)
        images = read_clip(one.manifest, one.clip.restrict(ordered))
        for position, image in zip(ordered, images, strict=True):
            yield image, frames[position]


class _Placer:
    """Places clicks on the frames of one split."""

    def __init__(self, manifest: Manifest, is_held_out: bool) -> None:
        self._manifest, self._is_held_out = manifest, is_held_out
        self._names, self._labels = ClipNames(manifest.clips), Labels(manifest.classes.names, {})
        self._sizes: dict[str, tuple[int, int]] = {}

    def place(self, told: PersonsClick, times: dict[str, str]) -> PlacedClick | None:
        clip, position = self._names.find(told.clip, told.frame) or (None, 0)
        class_name, _ = self._labels.find(told.class_name, by_id=True)
        if clip is None or class_name is None:
            return None
        if position not in (clip.scored if self._is_held_out else clip.targets):
            return None
        size = self._size(clip)
        at = told.points[len(told.points) // 2] if told.points else (float(told.y), float(told.x))
        if not all(-0.5 <= value <= side - 0.5 for value, side in zip(at, size, strict=True)):
            return None
        y, x = (min(math.floor(value + 0.5), side - 1) for value, side in zip(at, size, strict=True))
        return PlacedClick(
            Click(clip.id, clip.frames[position].name, y, x, class_name),
            self._manifest,
            clip,
            position,
            size,
            self._manifest.classes.names.index(class_name),
            told.origin,
            times.get(told.where, ""),
            self._is_held_out,
            bool(told.points),
        )

    def _size(self, clip: Clip) -> tuple[int, int]:
        if clip.id not in self._sizes:
            self._sizes[clip.id] = frame_size(self._manifest.path(clip.frames[0].image))
        return self._sizes[clip.id]


def _times(path: Path, digest: str | None) -> dict[str, str]:
    """`PersonsClick.where` -> time of each click of a log; tables tell none."""
    if path.suffix.lower() != LOG_SUFFIX:
        return {}
    return {f"click {click.id}": click.time for click in read_click_log(path, digest)}
