"""Which stored flows a target's stack is made of, and the camera's part of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from weclick.geometry import StackOptions, dominant_homography
from weclick.manifest import Clip
from weclick.store.entries import Entry
from weclick.store.flow_entries import checked_stride, read_flow, stored_pairs


class StackPlan:
    """Finds the flows of stacks in store entries.

    It remembers where an entry has the flow of which frame, and each homography, once found. That is some
    hundred bytes a pair.

    Args:
        options: how stacks are made.
    """

    def __init__(self, options: StackOptions):
        self.options = options
        self._known: dict[str, dict[int, int]] = {}
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
            InputError: the entry is of other frames.
            DamagedEntryError: it is not what was committed.
        """
        found = self.options.slots(self.known(entry, clip), clip.frames[target].number)
        used = list(dict.fromkeys(index for index in found if index is not None))
        slots = [None if index is None else used.index(index) for index in found]
        listed = entry.meta["inputs"]["pairs"]
        cameras = None
        if self.options.motion == "residual" and used:
            cameras = np.stack([self.camera(entry, index) for index in used])
        return [list(listed[index]) for index in used], {"slots": slots, "cameras": cameras}

    def known(self, entry: Entry, clip: Clip) -> Mapping[int, int]:
        """Number of a frame -> position in the entry of its flow to the next frame."""
        if entry.key not in self._known:
            checked_stride(entry, clip.size)
            numbers = [frame.number for frame in clip.frames]
            self._known[entry.key] = {
                numbers[a]: index
                for index, (a, b) in enumerate(stored_pairs(entry, clip))
                if numbers[b] == numbers[a] + 1
            }
        return self._known[entry.key]

    def camera(self, entry: Entry, index: int) -> np.ndarray:
        """The homography of a stored flow, (3, 3)."""
        at = entry.key, index
        if at not in self._cameras:
            flow, _ = read_flow(entry, index)
            self._cameras[at] = dominant_homography(flow, tuple(entry.attributes["image_size"]))
        return self._cameras[at]
