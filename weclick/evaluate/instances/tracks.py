"""Tracks from instances of single frames: objects linked along the flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from weclick.common.errors import InputError
from weclick.evaluate.instances.found import Instances, instances
from weclick.evaluate.instances.warping import warp_masks
from weclick.store.rle import Rle, encode_masks


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
    """A track that is being made: its masks, and what they were found as."""

    masks: list[Rle | None]
    classes: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


def link_tracks(
    frames: Sequence[Sequence[Any]],
    flows_to_previous: Sequence[Any],
    *,
    max_overlap: float = 0.2,
    min_iou: float = 0.05,
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
    tracks: list[_Open] = []
    before: Instances | None = None
    owners: list[_Open] = []
    for t, (given, flow) in enumerate(zip(frames, flows_to_previous, strict=True)):
        now = instances(given, f"frame {t}", None if before is None else before.size)
        codes = encode_masks(now.masks)
        kept = _without_overlaps(now.scores, codes, max_overlap)
        now, codes = now.chosen(kept), [codes[i] for i in kept]
        follows: dict[int, int] = {}
        if before is not None:
            warped = encode_masks(warp_masks(before.masks, flow, f"frame {t}"))
            follows = {j: i for i, j in _best_pairs(_iou(warped, codes), min_iou)}
        owners = [
            owners[follows[j]] if j in follows else _begun(tracks, len(frames)) for j in range(len(codes))
        ]
        for owner, code, class_id, score in zip(owners, codes, now.classes, now.scores, strict=True):
            owner.masks[t] = code
            owner.classes.append(int(class_id))
            owner.scores.append(float(score))
        before = now
    return sorted(map(_closed, tracks), key=lambda track: -track.score)


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
    iou = _iou(codes, codes)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(iou[i, j] <= max_overlap for j in kept):
            kept.append(int(i))
    return np.array(sorted(kept), np.int64)


def _best_pairs(iou: np.ndarray, min_iou: float) -> list[tuple[int, int]]:
    """Pairs above `min_iou`, each row and column at most once, with the largest sum."""
    from weclick.proxy_labels import match  # here, since few who score need it, and it loads torch

    return [(int(i), int(j)) for i, j in match(np.where(iou > min_iou, iou, 0))]


def _iou(first: list[Rle], second: list[Rle]) -> np.ndarray:
    """(N, M) IoU of masks."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return coco_mask.iou(first, second, [0] * len(second))


def _begun(tracks: list[_Open], frames: int) -> _Open:
    tracks.append(_Open([None] * frames))
    return tracks[-1]


def _closed(track: _Open) -> Track:
    sums = {
        class_id: sum(s for c, s in zip(track.classes, track.scores, strict=True) if c == class_id)
        for class_id in sorted(set(track.classes))
    }
    class_id = max(sums, key=lambda one: sums[one])
    return Track(tuple(track.masks), class_id, float(np.mean(track.scores)))
