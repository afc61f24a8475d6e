"""Which stored flows a target's stack is made of, and the camera's part of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from weclick.common.errors import InputError
from weclick.geometry import StackOptions, dominant_homography, each_once
from weclick.manifest import Clip
from weclick.store.entries import Entry
from weclick.store.flow_entries import checked_stride, read_flow, stored_pairs

AGAIN = (
    "run the flow stage again with method two_stream, or with it in serves, and give the index of every shard"
)


class StackPlan:
    """Finds the flows of stacks in store entries.

    It remembers where an entry has the flow of which frame, and each homography, once found. That is some
    hundred bytes a pair.

    Args:
        options: how stacks are made.
    """

    def __init__(self, options: StackOptions):
        self.options = options
        self._known: dict[tuple[str, str], dict[int, int]] = {}
        self._cameras: dict[tuple[str, int], np.ndarray] = {}

    def of(self, entry: Entry, clip: Clip, target: int) -> tuple[list[list[str]], Mapping[str, Any]]:
        """The flows of one stack.

        Args:
            entry: of the kind "flow", of the need `stack`.
            clip: whose frames it is of.
            target: position in the clip.

        Returns:
            Pairs of frames, by digest, each once; none if the entry has no flow of the stack. And `slots`:
            for each flow of the stack the position among these pairs, or None for zeros; `cameras`:
            (n, 3, 3), a homography of each pair, or None if the motion is wanted as it is.

        Raises:
            InputError: the entry is of other frames, or lacks a flow for a target or a scored frame.
            DamagedEntryError: it is not what was committed.
        """
        used, slots = each_once(self.slots(entry, clip, target))
        listed = entry.meta["inputs"]["pairs"]
        cameras = None
        if self.options.motion == "residual" and used:
            cameras = np.stack([self.camera(entry, index) for index in used])
        return [list(listed[index]) for index in used], {"slots": slots, "cameras": cameras}

    def slots(self, entry: Entry, clip: Clip, position: int) -> list[int | None]:
        """For each flow of a frame's stack its position in the entry, or None for zeros; see `of`."""
        known, number = self._of_frames(entry, clip), clip.frames[position].number
        if position in {*clip.targets, *clip.scored}:
            lacking = [each for each in self._wanted(clip, number) if each not in known]
            if lacking:
                raise InputError(
                    f"{entry.path}: lacks the flow from frame {lacking[0]} of clip {clip.id!r} to the next, "
                    f"which belongs to the stack of frame {clip.frames[position].name}; {AGAIN}"
                )
        return self.options.slots(known, number)

    def check_none(self, clip: Clip) -> None:
        """Check that a clip needs no entry: no stack of its targets and scored frames holds a flow.

        Raises:
            InputError: one does.
        """
        for position in (*clip.targets, *clip.scored):
            if self._wanted(clip, clip.frames[position].number):
                raise InputError(
                    f"clip {clip.id!r} has no flow in the index for the stack of frame "
                    f"{clip.frames[position].name}, though frames follow each other there; {AGAIN}"
                )

    def camera(self, entry: Entry, index: int) -> np.ndarray:
        """The homography of a stored flow, (3, 3)."""
        at = entry.key, index
        if at not in self._cameras:
            flow, _ = read_flow(entry, index)
            self._cameras[at] = dominant_homography(flow, int(entry.attributes["stride_px"]))
        return self._cameras[at]

    def _of_frames(self, entry: Entry, clip: Clip) -> Mapping[int, int]:
        """Number of a frame -> position in the entry of its flow to the next frame.

        Pairs are found by content, since frames of one content have one flow, whatever their numbers are.
        """
        at = entry.key, clip.id
        if at not in self._known:
            checked_stride(entry, clip.size)
            stored_pairs(entry, clip)  # the entry is of these frames
            listed = {tuple(pair): i for i, pair in reversed([*enumerate(entry.meta["inputs"]["pairs"])])}
            digest = {frame.number: frame.digest for frame in clip.frames}
            pairs = {n: (digest[n], digest[n + 1]) for n in digest if n + 1 in digest}
            self._known[at] = {n: listed[pair] for n, pair in pairs.items() if pair in listed}
        return self._known[at]

    def _wanted(self, clip: Clip, number: int) -> list[int]:
        """The numbers of frames in reach of a frame's stack that the next frame of the video follows."""
        numbers = {frame.number for frame in clip.frames}
        reach = range(number + self.options.first, number + self.options.last)
        return [each for each in reach if each in numbers and each + 1 in numbers]
