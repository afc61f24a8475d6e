"""Tracks from instances of single frames: objects linked along the flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from weclick.common.errors import InputError
from weclick.common.rle import Rle, encode_masks
from weclick.evaluate.instances.found import Instances, instances
from weclick.evaluate.instances.warping import warp_masks

MAX_OVERLAP, MIN_IOU = 0.2, 0.05
"""UnOVOST's: from which overlap on two instances of a frame are one, and above which one follows another."""


class Track(NamedTuple):
    """An object along a clip.

    Attributes:
        masks: for each frame a run-length code of COCO, None where the object was not found.
        class_id: the class whose members have the largest sum of scores; of equal ones the smallest.
        score: mean score of all members.
    """

    masks: tuple[Rle | None, ...]
    class_id: int
    score: float


@dataclass
class _Open:
    """A track that is being made: frame -> its mask, and what it was found as."""

    masks: dict[int, Rle] = field(default_factory=dict)
    classes: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


class Linker:
    """Links the instances of a clip frame by frame, see `link_tracks`. It keeps one frame's masks.

    Args:
        max_overlap, min_iou: as in `link_tracks`.
        keep: whether what was found is kept for `tracks`, as codes. Without it, memory does not grow.
    """

    def __init__(
        self, *, max_overlap: float = MAX_OVERLAP, min_iou: float = MIN_IOU, keep: bool = True
    ) -> None:
        self._max_overlap, self._min_iou, self._keep = max_overlap, min_iou, keep
        self._tracks: list[_Open] = []
        self._count = 0
        self._owners: list[int] = []
        self._before: Instances | None = None
        self._frames = 0

    def add(self, given: Sequence[Any], flow: Any) -> list[tuple[int, int]]:
        """Link the next frame to the one before.

        Args:
            given: masks (N, H, W) bool, classes (N,) and scores (N,); numpy or torch.
            flow: (2, H, W) px on this frame's grid, pointing to the frame before; not read for the first one.

        Returns:
            Of each instance that stays: its position among the given ones, and the number of its track,
            counted from 0 in the order in which tracks begin.

        Raises:
            InputError: shapes do not fit.
        """
        before, where = self._before, f"frame {self._frames}"
        now = instances(given, where, None if before is None else before.size)
        codes = encode_masks(now.masks)
        kept = _without_overlaps(now.scores, codes, self._max_overlap)
        now, codes = now.chosen(kept), [codes[i] for i in kept]
        follows: dict[int, int] = {}
        if before is not None:
            warped = encode_masks(warp_masks(before.masks, flow, where))
            follows = {j: i for i, j in _best_pairs(mask_iou(warped, codes), self._min_iou)}
        owners = [self._owners[follows[j]] if j in follows else self._begun() for j in range(len(codes))]
        for owner, code, class_id, score in zip(owners, codes, now.classes, now.scores, strict=True):
            if not self._keep:
                break
            track = self._tracks[owner]
            track.masks[self._frames] = code
            track.classes.append(int(class_id))
            track.scores.append(float(score))
        self._before, self._owners, self._frames = now, owners, self._frames + 1
        return list(zip(kept.tolist(), owners, strict=True))

    def tracks(self) -> list[Track]:
        """The tracks in the order in which they begin; none if they are not kept."""
        return [_closed(track, self._frames) for track in self._tracks]

    def _begun(self) -> int:
        if self._keep:
            self._tracks.append(_Open())
        self._count += 1
        return self._count - 1


def link_tracks(
    frames: Sequence[Sequence[Any]],
    flows_to_previous: Sequence[Any],
    *,
    max_overlap: float = MAX_OVERLAP,
    min_iou: float = MIN_IOU,
) -> list[Track]:
    """Link the instances of a clip's frames to tracks, as the tracklets of UnOVOST are (Luiten et al. 2020).

    In each frame, an instance is dropped if it overlaps one of a better score, whatever their classes are.
    The rest is linked to the frame before, so that the IoUs with the warped masks have the largest sum. A
    track ends where nothing follows; tracklets are not joined by their looks.

    Args:
        frames: for each of T frames masks (N, H, W) bool, classes (N,) and scores (N,); numpy or torch.
        flows_to_previous: T of (2, H, W) px on each frame's grid, pointing to the frame before it. The first
            is not read and may be None.
        max_overlap: IoU from above which on two instances of a frame are one.
        min_iou: an instance follows another only above this IoU.

    Returns:
        The tracks by falling score; of equal ones in the order in which they begin.

    Raises:
        InputError: shapes do not fit, or there are not as many flows as frames.
    """
    if len(flows_to_previous) != len(frames):
        raise InputError(
            f"{len(frames)} frames and {len(flows_to_previous)} flows, expected one for each frame; that "
            "of the first may be None"
        )
    linker = Linker(max_overlap=max_overlap, min_iou=min_iou)
    for given, flow in zip(frames, flows_to_previous, strict=True):
        linker.add(given, flow)
    return sorted(linker.tracks(), key=lambda track: -track.score)


def track_predictions(tracks: Sequence[Track], video_id: int) -> list[dict[str, Any]]:
    """Tracks of a video as `video_ap` reads them, and YouTube-VIS, once `counts` are texts."""
    return [
        {
            "video_id": video_id,
            "category_id": track.class_id,
            "score": track.score,
            "segmentations": list(track.masks),
        }
        for track in tracks
    ]


def _without_overlaps(scores: np.ndarray, codes: list[Rle], max_overlap: float) -> np.ndarray:
    """Positions of instances that overlap none of a better score, rising. Of equal scores the first stays."""
    iou = mask_iou(codes, codes)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(iou[i, j] <= max_overlap for j in kept):
            kept.append(int(i))
    return np.array(sorted(kept), np.int64)


def _best_pairs(iou: np.ndarray, min_iou: float) -> list[tuple[int, int]]:
    """Pairs above `min_iou`, each row and column at most once, with the largest sum."""
    from weclick.proxy_labels import match  # here, since few who score need it, and it loads torch

    return [(int(i), int(j)) for i, j in match(np.where(iou > min_iou, iou, 0))]


def mask_iou(first: list[Rle], second: list[Rle]) -> np.ndarray:
    """(N, M) IoU of masks."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return coco_mask.iou(first, second, [0] * len(second))


def _closed(track: _Open, frames: int) -> Track:
    sums = {
        class_id: sum(s for c, s in zip(track.classes, track.scores, strict=True) if c == class_id)
        for class_id in sorted(set(track.classes))
    }
    class_id = max(sums, key=lambda one: sums[one])
    masks = tuple(track.masks.get(t) for t in range(frames))
    return Track(masks, class_id, float(np.mean(track.scores)))
