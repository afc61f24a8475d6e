"""COCO keypoints: an annotation with one keypoint for each click, a category for each class."""

from __future__ import annotations

from typing import Any

from weclick.clicks.formats.sheet import Sheet, centre
from weclick.common.strict_json import strict_json


def write_coco(sheet: Sheet) -> str:
    """The clicks as COCO. Boxes of one pixel are there because readers want some."""
    ids = {name: i for i, name in enumerate(sheet.classes.names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, frame in enumerate(sheet.frames, 1):
        height, width = frame.size
        images.append({"id": number, "file_name": frame.image, "width": width, "height": height})
        for click in frame.clicks:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ids[click.class_name],
                    "keypoints": [centre(click.x), centre(click.y), 2],
                    "num_keypoints": 1,
                    "bbox": [click.x, click.y, 1, 1],
                    "area": 1,
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    categories = [{"id": i, "name": name, "keypoints": ["click"], "skeleton": []} for name, i in ids.items()]
    return strict_json(
        {"info": {}, "licenses": [], "categories": categories, "images": images, "annotations": annotations},
        indent=1,
    )
