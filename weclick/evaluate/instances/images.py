"""Average precision of instances on images, by COCO's own evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from weclick.evaluate.instances.rle import checked_rle
from weclick.evaluate.instances.structures import Truth, entries, is_crowd, number, read_truth

FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
"""In the order in which COCO's evaluator gives them."""


def instance_ap(ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Average precision and recall of masks on images, as COCO scores them.

    Of each class, detections of all images take, by falling score, the best free instance that they overlap
    (IoU). A crowd may excuse many detections, and counts for nothing. At most 100 detections of a class count
    in an image.

    Args:
        ground_truth: `images` (id, height, width), `categories` (id) and `annotations` (image_id,
            category_id, segmentation, optional area and iscrowd), as in COCO's files.
        detections: image_id, category_id, score and segmentation of each.

    Returns:
        `AP` (mean over the overlaps .5 to .95), `AP50`, `AP75`, `AR1`, `AR10`, `AR100`, and `AP_small`,
        `AP_medium`, `AP_large`, likewise `AR_small`, ...: areas below 32 x 32 px, below 96 x 96, and larger.
        Each in 0..1; NaN where no instance is there to be found, for which COCO has -1.

    Raises:
        InputError: a structure is not of this format.
    """
    truth = read_truth(ground_truth, "image")
    given = entries(detections, "detections")
    with redirect_stdout(StringIO()):  # the evaluator tells every step
        known = _coco(truth, _annotations(truth, truth.annotations, "annotations"))
        found = _coco(truth, _annotations(truth, given, "detections", scored=True))
        evaluation = COCOeval(known, found, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = (float(value) for value in evaluation.stats)
    return {name: value if value >= 0 else float("nan") for name, value in zip(FIGURES, values, strict=True)}


def _annotations(
    truth: Truth, listed: Sequence[Mapping[str, Any]], name: str, *, scored: bool = False
) -> Iterator[dict[str, Any]]:
    """The entries as COCO's evaluator wants them. It takes an id of 0 for none, so they get new ones."""
    for at, entry in enumerate(listed):
        where = f"{name}, entry {at}"
        image, class_id = truth.place(entry, where)
        mask = checked_rle(entry.get("segmentation"), truth.sources[image].size, where)
        measured = scored or entry.get("area") is None
        yield {
            "id": at + 1,
            "image_id": image,
            "category_id": class_id,
            "segmentation": mask,
            "area": float(coco_mask.area(mask)) if measured else number(entry, "area", where),
            "iscrowd": int(not scored and is_crowd(entry, where)),
            **({"score": number(entry, "score", where)} if scored else {}),
        }


def _coco(truth: Truth, annotations: Iterator[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [
            {"id": image, "height": source.size[0], "width": source.size[1]}
            for image, source in truth.sources.items()
        ],
        "categories": [{"id": class_id} for class_id in truth.class_ids],
        "annotations": list(annotations),
    }
    coco.createIndex()
    return coco
