"""Instances of frames: read from their entries, and cut as their frames are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

from weclick.common.errors import InputError
from weclick.geometry import Crop, inside_image, sample_crop
from weclick.manifest import Clip
from weclick.models.detector import Labels
from weclick.models.detector_parts import boxes_around
from weclick.store import Store
from weclick.store.instance_entries import FrameInstances, InstanceEntry

MIN_SIDE_PX = 4
"""An instance that is narrower or lower than this in a crop is left out: it is a sliver."""

MAX_BYTES = 2**28
"""Bound on the entries that stay in memory. One has the run-length codes of a clip, some 20 kB a frame."""


class InstanceReader:
    """Reads the instances of frames; keeps the last entries.

    Args:
        store: where entries are looked up.
        classes: names of the data set's classes, which the instances must be of.
    """

    def __init__(self, store: Store, classes: Sequence[str]):
        self._store, self._classes = store, tuple(classes)
        self._entries: OrderedDict[str, tuple[InstanceEntry, int]] = OrderedDict()

    def entry(self, clip: Clip, key: str) -> InstanceEntry:
        """The entry of a clip.

        Raises:
            EntryMissingError: no root of the store has it.
            DamagedEntryError: it is not what was committed.
            InputError: it is of other classes, or of frames of another size.
        """
        if key not in self._entries:
            self._entries[key] = self._opened(clip, key)
            while len(self._entries) > 1 and sum(size for _, size in self._entries.values()) > MAX_BYTES:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def read(self, clip: Clip, key: str, positions: Sequence[int]) -> list[FrameInstances]:
        """The instances of some frames of a clip, found by content.

        Raises:
            EntryMissingError, DamagedEntryError, InputError: as in `entry`, or a frame is not in it.
        """
        entry = self.entry(clip, key)
        return [entry.of(clip.frames[position].digest) for position in positions]

    def _opened(self, clip: Clip, key: str) -> tuple[InstanceEntry, int]:
        stored = self._store.get("instances", key)
        entry = InstanceEntry(stored, clip.size)
        if entry.classes != self._classes:
            raise InputError(
                f"{stored.path}: holds instances of the classes {', '.join(entry.classes)}, but the data set "
                f"has {', '.join(self._classes)}; run the instances stage again"
            )
        return entry, sum(told["bytes"] for told in stored.meta["files"].values())


def cut_instances(found: FrameInstances, crop: Crop, size: Sequence[int], device: torch.device) -> Labels:
    """The instances of a frame as its crop shows them.

    Args:
        found: of the whole frame.
        crop: of the frame.
        size: (H, W) of the frame, px.
        device: where the masks are wanted.

    Returns:
        Masks (N, H, W) bool of the crop, none of them in the padding, and class ids (N,) int64. Those are
        left out that the crop does not show, or whose box there has a side of less than MIN_SIDE_PX.
    """
    classes = torch.from_numpy(found.classes)
    if not len(classes):
        return torch.zeros((0, *crop.size), dtype=torch.bool, device=device), classes.to(device)
    whole = torch.from_numpy(found.masks.view(np.uint8))[None].to(device)
    cut = sample_crop(whole, [crop], image_size=size, mode="nearest")[0][0].bool()
    cut &= inside_image([crop], size)[0].to(device)
    boxes = boxes_around(cut)
    kept = (boxes[:, 2:] - boxes[:, :2]).amin(1) >= MIN_SIDE_PX
    return cut[kept], classes.to(device)[kept]
