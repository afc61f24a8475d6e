"""Average precision of tracks: masks of one object along a video (Yang, Fan and Xu, ICCV 2019)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from weclick.common.errors import InputError
from weclick.common.rle import Rle
from weclick.evaluate.instances.precision import MOST, Areas, Compared, figures
from weclick.evaluate.instances.rle import checked_rle
from weclick.evaluate.instances.structures import Source, Truth, entries, is_crowd, number, read_truth

AREAS: Areas = {
    "all": (0, 1e10),
    "small": (0, 128**2),
    "medium": (128**2, 256**2),
    "large": (256**2, 1e10),
}
"""By the mean area of a track where it is seen, px."""


class _Track(NamedTuple):
    """The masks of an object in each frame, None where it is not seen, and their area in px."""

    masks: list[Rle | None]
    pixels: list[int]
    area: float
    score: float
    crowd: bool


def video_ap(ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Average precision and recall of tracks, as YouTube-VIS scores them.

    Two tracks overlap by their common pixels, summed over all frames, over the sum of the pixels of either. A
    frame with one of the two masks adds to the latter. All else is as in COCO.

    Args:
        ground_truth: `videos` (id, height, width, length), `categories` (id) and `annotations` (video_id,
            category_id, segmentations, optional areas and iscrowd), as in YouTube-VIS files.
        predictions: video_id, category_id, score and segmentations of each track. Segmentations are a list
            with run lengths, polygons or None for each frame.

    Returns:
        `AP` (mean over the overlaps .5 to .95), `AP50`, `AP75`, `AR1`, `AR10`, `AR100`, and `AP_small`,
        `AP_medium`, `AP_large`, likewise `AR_small`, ...: tracks of a mean area below 128 x 128, below
        256 x 256, and larger. Each in 0..1; NaN where no track is there to be found, for which the official
        evaluator has -1.

    Raises:
        InputError: a structure is not of this format.
    """
    truth = read_truth(ground_truth, "video")
    known = _tracks(truth, truth.annotations, "annotations")
    found = _tracks(truth, entries(predictions, "predictions"), "predictions", scored=True)
    places = sorted({*known, *found})
    return figures(
        [
            [_compare(found[place], known[place]) for place in places if place[1] == class_id]
            for class_id in truth.class_ids
        ],
        AREAS,
    )


def _tracks(
    truth: Truth, listed: Sequence[Mapping[str, Any]], name: str, *, scored: bool = False
) -> dict[tuple[int, int], list[_Track]]:
    """(video, class) -> its tracks, in their order."""
    tracks: dict[tuple[int, int], list[_Track]] = defaultdict(list)
    for at, entry in enumerate(listed):
        where = f"{name}, entry {at}"
        place = truth.place(entry, where)
        score = number(entry, "score", where) if scored else 1.0
        areas = None if scored else entry.get("areas")
        crowd = not scored and is_crowd(entry, where)
        masks = _masks(entry.get("segmentations"), truth.sources[place[0]], where)
        pixels = [0 if mask is None else int(coco_mask.area(mask)) for mask in masks]
        seen = [area for area in _areas(areas, len(masks), where) or pixels if area]
        tracks[place].append(_Track(masks, pixels, float(np.mean(seen)) if seen else 0.0, score, crowd))
    return tracks


def _masks(segmentations: Any, source: Source, where: str) -> list[Rle | None]:
    if not isinstance(segmentations, list) or len(segmentations) != source.length:
        told = f"{len(segmentations)} masks" if isinstance(segmentations, list) else repr(segmentations)[:60]
        raise InputError(
            f"{where}: segmentations are {told}, expected a list with a mask or null for each of the video's "
            f"{source.length} frames"
        )
    return [
        checked_rle(mask, source.size, f"{where}, frame {t}") if mask else None
        for t, mask in enumerate(segmentations)
    ]


def _areas(areas: Any, length: int, where: str) -> list[float]:
    """The areas that an annotation tells, which decide on its size; empty if it tells none."""
    if areas is None:
        return []
    if not isinstance(areas, list) or len(areas) != length:
        raise InputError(f"{where}: areas are {repr(areas)[:60]}, expected a number or null for each frame")
    return [0.0 if area is None else number({"areas": area}, "areas", where) for area in areas]


def _compare(found: list[_Track], known: list[_Track]) -> Compared:
    found = sorted(found, key=lambda track: -track.score)[: MOST[-1]]
    return Compared(
        _overlaps(found, known),
        np.array([track.score for track in found]),
        np.array([track.area for track in found]),
        np.array([track.area for track in known]),
        np.array([track.crowd for track in known], bool),
    )


def _overlaps(found: list[_Track], known: list[_Track]) -> np.ndarray:
    """(D, G) IoU over all frames."""
    common = np.zeros((len(found), len(known)))
    for t in range(len(found[0].masks) if found and known else 0):
        rows, columns = ([i for i, track in enumerate(tracks) if track.masks[t]] for tracks in (found, known))
        if rows and columns:
            # against a crowd, COCO divides by the area of what was found: times that area it is whole pixels
            share = coco_mask.iou(
                [found[i].masks[t] for i in rows], [known[j].masks[t] for j in columns], [1] * len(columns)
            )
            pixels = np.array([found[i].pixels[t] for i in rows])
            common[np.ix_(rows, columns)] += np.rint(share * pixels[:, None])
    ours, theirs = (np.array([sum(track.pixels) for track in tracks], float) for tracks in (found, known))
    either = ours[:, None] + theirs[None] - common
    return np.divide(common, either, out=np.zeros_like(common), where=either > 0)
