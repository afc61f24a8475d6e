"""All scores of instances on the frames of a split, from what was found and what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from weclick.evaluate.instances.along import ReadTruth, consistency, video_figures
from weclick.evaluate.instances.cityscapes import cityscapes_instance_ap
from weclick.evaluate.instances.detecting import Found, as_image, decoded, only_where
from weclick.evaluate.instances.found import Instances
from weclick.evaluate.instances.images import instance_ap
from weclick.evaluate.instances.semantic import semantic_from_instances, semantic_iou
from weclick.evaluate.instances.steps import EarlierFlow
from weclick.evaluate.instances.true_files import VOID, labels_of, true_ids, true_image
from weclick.evaluate.instances.truth import TrueInstances
from weclick.manifest import Manifest
from weclick.proxy_labels import ImageInstances, coco_json, coco_results

FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")
"""What is told of COCO's figures."""

SURE_SCORE = 0.5
"""Instances from this score on are counted as sure, and drawn."""


def all_figures(
    manifest: Manifest, found: Found, flows: Mapping[str, EarlierFlow], read: ReadTruth, min_pixels: int
) -> tuple[dict[str, Any], list[ImageInstances]]:
    """The scores of a detector, as metrics.json has them under `instances`.

    Pixels whose truth nobody knows are taken out of what was found. Groups and small objects excuse what is
    found there. Cityscapes' own score deals with all three in its own way.

    Args:
        manifest: of `with_truth`.
        found: on the scored frames, and on the earlier frames of `flows`.
        flows: clip id -> its flow.
        read: gives the true objects of a frame.
        min_pixels: at Cityscapes' size, below which objects are excused.

    Returns:
        The scores, each in 0..1 or None: FIGURES of COCO; per_class; cityscapes; semantic_miou and
        per_class_iou; temporal_consistency and consistency_pairs; video, see `video_figures`;
        instances_a_frame, sure_a_frame, truth_a_frame, small_a_frame, groups_a_frame; min_pixels. And the
        truth of the scored frames, in the order of the clips.
    """
    truth: list[ImageInstances] = []
    shown: list[ImageInstances] = []
    counts = np.zeros(5, np.int64)
    for true, answer, name in _scored(manifest, found, read):
        truth.append(true_image(name, true))
        shown.append(as_image(name, only_where(answer, true.known)))
        small = int(true.small.sum())
        sure = int((answer.scores >= SURE_SCORE).sum())
        counts += len(answer.masks), sure, len(true.masks) - small, small, len(true.groups)
    names, class_ids = manifest.classes.names, manifest.classes.instance_classes
    per_class = {names[k]: _coco(truth, shown, names, k) for k in class_ids}
    value, pairs = consistency(manifest, found, flows)
    kinds = ("instances", "sure", "truth", "small", "groups")
    told = {
        **{name: _mean([each[name] for each in per_class.values()]) for name in FIGURES},
        "per_class": {name: {key: each[key] for key in ("AP", "AP50")} for name, each in per_class.items()},
        "cityscapes": _cityscapes(manifest, found, read),
        **_semantic(manifest, found, read),
        "temporal_consistency": value,
        "consistency_pairs": pairs,
        "video": video_figures(manifest, found, flows, read),
        **{f"{kind}_a_frame": n / len(truth) for kind, n in zip(kinds, counts.tolist(), strict=True)},
        "min_pixels": min_pixels,
    }
    return told, truth


def _scored(
    manifest: Manifest, found: Found, read: ReadTruth
) -> Iterator[tuple[TrueInstances, Instances, str]]:
    """What is there and what was found on each scored frame, and its name."""
    for clip in manifest.clips:
        for t in clip.scored:
            image = found[clip.id][t]
            yield read(clip, t), decoded(image), image.file_name


def _coco(
    truth: Sequence[ImageInstances], shown: Sequence[ImageInstances], names: Sequence[str], class_id: int
) -> dict[str, float]:
    """COCO's figures of one class."""
    known = coco_json([_of_class(image, class_id) for image in truth], names)
    return instance_ap(known, coco_results([_of_class(image, class_id) for image in shown], names))


def _of_class(image: ImageInstances, class_id: int) -> ImageInstances:
    mine = [i for i, found in enumerate(image.class_ids) if found == class_id]

    def chosen(values: Sequence[Any] | None) -> Any:
        return None if values is None else tuple(values[i] for i in mine)

    return ImageInstances(
        image.file_name,
        image.size,
        chosen(image.class_ids),
        chosen(image.codes),
        chosen(image.scores),
        chosen(image.crowd),
    )


def _cityscapes(manifest: Manifest, found: Found, read: ReadTruth) -> dict[str, Any]:
    """Cityscapes' own score. Of the least sizes of all clips the largest counts."""
    class_ids = manifest.classes.instance_classes
    least_px = max(read(clip, clip.scored[0]).least_px for clip in manifest.clips if clip.scored)
    frames = (
        (true_ids(true), (answer.masks, labels_of(answer.classes), answer.scores))
        for true, answer, _ in _scored(manifest, found, read)
    )
    told = cityscapes_instance_ap(
        frames, class_ids=labels_of(class_ids).tolist(), void=(VOID,), min_pixels=least_px
    )
    named = {manifest.classes.names[k]: told["per_class"][k + 1] for k in class_ids}
    return {"AP": told["AP"], "AP50": told["AP50"], "per_class": named}


def _semantic(manifest: Manifest, found: Found, read: ReadTruth) -> dict[str, Any]:
    classes = manifest.num_classes
    maps = (
        (semantic_from_instances(*answer, num_classes=classes, size=true.label.shape), true.label)
        for true, answer, _ in _scored(manifest, found, read)
    )
    told = semantic_iou(maps, classes, manifest.classes.instance_classes)
    named = {manifest.classes.names[k]: iou for k, iou in told["per_class_iou"].items()}
    return {"semantic_miou": told["miou"], "per_class_iou": named}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
