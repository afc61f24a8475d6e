"""Draws proxy labels and confident labels over their frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from weclick.common.spread import spread_to_ends
from weclick.manifest import IGNORE
from weclick.runs.inspect.over_frames import frames_under
from weclick.runs.report.pictures import hatched
from weclick.store import Entry, damaged

TOLD = 4
"""Classes of a frame that its title names: those of the most pixels."""


def label_pictures(entry: Entry, manifests: Sequence[Path], at_most: int) -> list[tuple[str, np.ndarray]]:
    """Some class maps of an entry over their frames. White lines mark pixels that have no class.

    Args:
        entry: of the kind "proxy_labels" or "confident_labels"; its attributes were checked.
        manifests: of the split.
        at_most: pictures.

    Returns:
        Titles with the classes' shares of the frame, and (h, w, 3) uint8 RGB.

    Raises:
        InputError: no manifest lists the frames, or one of them changed.
        DamagedEntryError: the entry is not as it was committed, or its parts do not fit each other.
    """
    told, array = entry.attributes, entry.array("classes")
    if len(array) != len(told["frames"]) or len(told["digests"]) != len(told["frames"]):
        raise damaged(entry.path, f"it holds {len(array)} class maps, but {len(told['frames'])} are named")
    chosen = spread_to_ends(range(len(array)), at_most)
    under = frames_under(entry, manifests, told["digests"], chosen)
    pictures = []
    for n, image in zip(chosen, under.images, strict=True):
        title = f"{told['frames'][n]}: {_shares(array[n], told['classes'])}"
        pictures.append((title, hatched(image, array[n], under.classes.palette)))
    return pictures


def _shares(class_ids: np.ndarray, names: Sequence[str]) -> str:
    """`road 50 %, car 25 %, unlabelled 25 %`, the largest first."""
    counts = np.bincount(class_ids.ravel(), minlength=IGNORE + 1)
    largest = sorted(np.flatnonzero(counts).tolist(), key=lambda k: -counts[k])[:TOLD]
    called = {k: "unlabelled" if k >= len(names) else names[k] for k in largest}
    return ", ".join(f"{name} {100 * counts[k] / class_ids.size:.0f} %" for k, name in called.items())
