"""Draws instances, over their frames where a manifest names these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from weclick.common.spread import spread_to_ends
from weclick.common.words import plural
from weclick.evaluate.instances.found import Instances
from weclick.runs.inspect.over_frames import frames_under
from weclick.runs.report.instance_pictures import draw_instances
from weclick.store import Entry
from weclick.store.instance_entries import InstanceEntry

GROUND = 90
"""Grey level under instances that are drawn alone."""


def instance_pictures(entry: Entry, manifests: Sequence[Path], at_most: int) -> list[tuple[str, np.ndarray]]:
    """Some frames of an entry of the kind "instances", with classes and scores.

    Args:
        entry: its attributes were checked.
        manifests: of the split; with none, the instances are drawn alone.
        at_most: pictures.

    Returns:
        Titles with the number of instances, and (h, w, 3) uint8 RGB.

    Raises:
        InputError: no manifest lists the frames, or one of them changed.
        DamagedEntryError: the entry is not as it was committed, or its parts do not fit each other.
    """
    told = entry.attributes
    height, width = (int(side) for side in told["size"])
    found = InstanceEntry(entry, (height, width))
    chosen = spread_to_ends(range(len(found.digests)), at_most)
    alone = [np.full((height, width, 3), GROUND, np.uint8)] * len(chosen)
    images = frames_under(entry, manifests, found.digests, chosen).images if manifests else alone
    pictures = []
    for n, image in zip(chosen, images, strict=True):
        there = Instances(*found.of(found.digests[n]))
        title = f"{told['frames'][n]}: {plural(len(there.masks), 'instance')}"
        pictures.append((title, draw_instances(image, there, found.classes)))
    return pictures
