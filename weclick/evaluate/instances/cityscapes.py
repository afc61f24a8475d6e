"""Average precision of instances as the Cityscapes benchmark takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weclick.common.errors import InputError
from weclick.evaluate.instances.found import Instances, as_array, instances
from weclick.evaluate.instances.precision import THRESHOLDS

THINGS = (24, 25, 26, 27, 28, 31, 32, 33)
"""Label ids of person, rider, car, truck, bus, train, motorcycle and bicycle."""

VOID = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
"""Label ids of what the benchmark does not score."""

GROUP_BELOW = 1000
"""Ids below are labels, of stuff or of groups of objects. Others are label * 1000 + k, of single objects."""

MIN_PIXELS = 100
"""Smaller true instances do not count."""


@dataclass(frozen=True)
class _Shown:
    """Predictions and true instances of one class in one image.

    Attributes:
        overlaps: (D, G) IoU with the true instances that count.
        scores: (D,)
        excused: (D,) share of a prediction's pixels in void regions, groups and small instances.
    """

    overlaps: np.ndarray
    scores: np.ndarray
    excused: np.ndarray


def cityscapes_instance_ap(
    frames: Iterable[tuple[Any, Sequence[Any]]],
    *,
    class_ids: Sequence[int] = THINGS,
    void: Sequence[int] = VOID,
    min_pixels: int = MIN_PIXELS,
) -> dict[str, Any]:
    """Average precision of instances after cityscapesScripts. COCO's differs on the same masks.

    A prediction counts for every true instance of its class that it overlaps (IoU) by more than the
    threshold; of several for one instance, the best-scored is right and the others are wrong. A prediction
    that overlaps none is wrong, unless a share of its pixels above the threshold lies in void regions, in
    groups of its class, or in instances of its class that are too small to count. AP is the area under the
    precision-recall curve: each precision weighs half of the recall between its two neighbours.

    Args:
        frames: for each image its true ids (H, W), those of the benchmark's instanceIds.png, and what was
            found: masks (N, H, W) bool, classes (N,) in label ids, scores (N,). Other classes are not scored.
        class_ids: labels with instances.
        void: labels that are not scored.
        min_pixels: smaller true instances do not count.

    Returns:
        `AP` in 0..1, the mean over the overlaps .5 to .95 and the classes, `AP50`, and `per_class`: class id
        -> `AP`, `AP50`. NaN for a class without a true instance.

    Raises:
        InputError: shapes or types do not fit.
    """
    shown: dict[int, list[_Shown]] = {class_id: [] for class_id in class_ids}
    for at, (given, predictions) in enumerate(frames):
        ids = as_array(given)
        if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
            raise InputError(f"image {at}: ids are {ids.shape} {ids.dtype}, expected (H, W) of whole numbers")
        found = instances(predictions, f"image {at}", ids.shape)
        for class_id, of_class in _of_classes(ids, found, class_ids, void, min_pixels):
            shown[class_id].append(of_class)
    scores = {class_id: [_area(of_class, t) for t in THRESHOLDS] for class_id, of_class in shown.items()}
    per_class = {c: {"AP": float(np.mean(aps)), "AP50": aps[0]} for c, aps in scores.items()}
    return {
        **{name: _mean_of_known([of[name] for of in per_class.values()]) for name in ("AP", "AP50")},
        "per_class": per_class,
    }


def _of_classes(
    ids: np.ndarray, found: Instances, class_ids: Sequence[int], void: Sequence[int], min_pixels: int
) -> Iterator[tuple[int, _Shown]]:
    """What each class has in an image."""
    known, position = np.unique(ids, return_inverse=True)
    position = position.reshape(ids.shape)
    pixels = np.bincount(position.ravel(), minlength=len(known))
    owner = np.where(known < GROUP_BELOW, known, known // GROUP_BELOW)
    single = (known >= GROUP_BELOW) & (pixels >= min_pixels)
    areas = found.masks.sum((1, 2))
    common = np.array(
        [np.bincount(position[mask], minlength=len(known)) for mask in found.masks], np.int64
    ).reshape(-1, len(known))
    in_void = common[:, np.isin(known, list(void))].sum(1)
    for class_id in class_ids:
        mine = (found.classes == class_id) & (areas > 0)
        ours = owner == class_id
        inside = common[mine][:, ours & single]
        either = areas[mine][:, None] + pixels[ours & single][None] - inside
        # Groups count twice where they are smaller than min_pixels, as in the official code.
        group, small = ours & (known < GROUP_BELOW), ours & (pixels < min_pixels)
        excused = in_void[mine] + common[mine][:, group].sum(1) + common[mine][:, small].sum(1)
        yield class_id, _Shown(inside / either, found.scores[mine], excused / areas[mine])


def _area(images: Sequence[_Shown], threshold: float) -> float:
    """The area under a class's curve; NaN if it has no instance, 0 if nothing was found."""
    truths = sum(image.overlaps.shape[1] for image in images)
    right, scores = [], []
    for image in images:
        hits = image.overlaps > threshold
        for column in hits.T:
            taken = np.sort(image.scores[column])[::-1]  # the best-scored is right
            right += [True, *[False] * (len(taken) - 1)][: len(taken)]
            scores += taken.tolist()
        wrong = ~hits.any(1) & (image.excused <= threshold)
        right += [False] * int(wrong.sum())
        scores += image.scores[wrong].tolist()
    if not truths:
        return float("nan")
    return _under_curve(np.array(right, bool), np.array(scores, float), truths)


def _under_curve(right: np.ndarray, scores: np.ndarray, truths: int) -> float:
    """Predictions of equal score enter the curve together. It ends at precision 1 and recall 0."""
    order = np.argsort(scores)
    _, first = np.unique(scores[order], return_index=True)
    true = right.sum() - np.append(0, right[order].cumsum())[first]
    precision = np.append(true / (len(scores) - first), 1.0)
    recall = np.append(true / truths, 0.0)
    around = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ (around[:-2] - around[2:]) / 2)


def _mean_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
