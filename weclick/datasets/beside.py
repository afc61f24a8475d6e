"""Images in the folder of a clip that are no frames of it: masks, overlays and copies beside the frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from weclick.common.errors import InputError
from weclick.common.findings import Finding
from weclick.manifest import Clip
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


def beside_findings(what: str, clips: Iterable[Clip]) -> list[Finding]:
    """Names in a clip of images that share a number, as of two cameras, or that alone have none."""
    for clip in clips:
        names = [frame.name for frame in clip.frames if frame.video_frame is None]
        if pairs := _sharing_numbers(names):
            one, other = pairs[0]
            found = f"{len(pairs)} names of clip {clip.id} have the numbers of another: {one!r}, {other!r}"
            todo = "they follow each other as frames; if they are no video, such as two cameras, part them"
            return [Finding("warning", what, found, todo)]
        without = [name for name in names if not re.search(r"\d", name)]
        if 0 < 4 * len(without) <= len(names):
            found = (
                f"{len(without)} of {len(names)} names of clip {clip.id} have no number, e.g. {without[0]!r}"
            )
            return [Finding("warning", what, found, "remove it if it is no frame, such as a preview")]
    return []


def _sharing_numbers(names: Sequence[str]) -> list[tuple[str, str]]:
    """Names with the numbers of an earlier one; a copy, as `7 (1)` of 7, has its numbers too."""
    known = set(names)
    copies = {name: base for name in names if (base := re.sub(r" ?\(\d+\)$", "", name)) != name}
    copies = {name: base for name, base in copies.items() if base in known and re.search(r"\d", base)}
    if 2 * len(copies) >= len(names):
        copies = {}
    first: dict[tuple[str, ...], str] = {}
    pairs = []
    for name in names:
        numbers = tuple(re.findall(r"\d+", copies.get(name, name)))
        other = first.setdefault(numbers, name) if numbers else name
        pairs += [(other, name)] if other is not name else []
    return pairs
