"""Images in the folder of a clip that are no frames of it: masks, overlays and copies beside the frames."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from weclick.common.errors import InputError
from weclick.manifest.names import plain

_NO_FRAMES = frozenset(
    (
        *("mask", "masks", "label", "labels", "labelids", "labeltrainids", "instanceids", "instance"),
        *("seg", "segm", "segmentation", "gt", "groundtruth", "annotation", "annotations", "anno", "ann"),
        *("overlay", "alpha", "matte", "trimap", "depth", "disparity", "pred", "prediction", "vis"),
        *("copy", "kopie", "copie", "copia"),
    )
)
"""Words by which tools mark what they put beside a frame."""


def check_beside(paths: Iterable[Path]) -> None:
    """Check that no image is marked as something else than the frame of the same number beside it.

    A clip whose images all carry such a word, say mask_1 and mask_2, is a clip like others.

    Args:
        paths: the images of one clip.

    Raises:
        InputError: there is a pair such as 00000 and 00000_mask, or img_7 and mask_7.
    """
    frames: dict[tuple[str, ...], Path] = {}
    marked: list[tuple[tuple[str, ...], Path]] = []
    for path in paths:
        parts = re.findall(r"\d+|[^\W\d_]+", plain(path.stem).casefold())
        words = [part for part in parts if part not in _NO_FRAMES]
        numbers = tuple(part for part in words if part.isdecimal()) or tuple(words)
        if len(words) < len(parts):
            marked.append((numbers, path))
        else:
            frames.setdefault(numbers, path)
    pairs = [(frames[numbers], path) for numbers, path in marked if numbers in frames]
    if pairs:
        frame, path = pairs[0]
        raise InputError(
            f"{path.parent}: {path.name!r} lies beside {frame.name!r} and seems to be no frame by its name "
            f"({len(pairs)} such files); move masks to labels/<clip>/ under the frame's name, other images "
            "and copies elsewhere, or rename it"
        )
