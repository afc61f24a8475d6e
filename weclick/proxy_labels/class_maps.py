"""From the gathered regions of classes to one class map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from weclick.manifest import IGNORE

Conflict = Literal["smaller_region", "ignore", "highest"]


def class_map(
    regions: np.ndarray,
    values: np.ndarray,
    class_ids: Sequence[int],
    background: np.ndarray,
    *,
    conflict: Conflict,
) -> np.ndarray:
    """One class for each pixel, or 255. Regions win over background; `conflict` decides between regions.

    Args:
        regions: (C, H, W) bool, the foreground of each class.
        values: (C, H, W) floating point, how much each pixel is of each class. `highest` compares them.
        class_ids: (C,), no background among them.
        background: (H, W) bool, what no object is taken for.
        conflict: of a pixel in several regions. smaller_region: it is of the region that has fewer pixels
            (SEC, Kolesnikov and Lampert 2016). ignore: it is 255. highest: it is of the class of the highest
            value. Of equals, the first one in `class_ids` wins.

    Returns:
        (H, W) uint8 class ids, 0 for background, 255 ignored.
    """
    found = np.where(background, 0, IGNORE).astype(np.uint8)
    if not len(class_ids):
        return found
    if conflict == "highest":
        best = np.where(regions, values, -np.inf).argmax(0)
        return np.where(regions.any(0), np.asarray(class_ids, np.uint8)[best], found)
    smallest_first = np.argsort(regions.sum((1, 2)), kind="stable")
    for c in reversed(smallest_first):  # what is painted last stays
        found[regions[c]] = class_ids[c]
    if conflict == "ignore":
        found[regions.sum(0) > 1] = IGNORE
    return found
