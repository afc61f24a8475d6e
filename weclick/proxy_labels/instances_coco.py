"""Instances of images as COCO's JSON (Lin et al., ECCV 2014), as trainers and pycocotools read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weclick.common.errors import InputError
from weclick.common.rle import Rle, area_and_box, checked, decode_masks, encode_masks
from weclick.manifest.instance_files import (
    FIRST_ID,
    SURE,
    by_id,
    categories,
    check_class,
    check_file,
    check_score,
    named,
    read_categories,
    read_score,
)
from weclick.manifest.outlines import read_segmentation

SCHEMA = "instances_coco"


@dataclass(frozen=True)
class ImageInstances:
    """The instances of one image.

    Attributes:
        file_name: of the image. From a file it is as written there, and may lead anywhere: see `file_inside`.
        size: (H, W) px.
        class_ids: of each instance.
        codes: the mask of each instance.
        scores: of each instance, 0 or more; None for masks by people.
        crowd: which masks are of several objects that nobody told apart; None for none.
    """

    file_name: str
    size: tuple[int, int]
    class_ids: tuple[int, ...]
    codes: tuple[Rle, ...]
    scores: tuple[float, ...] | None = None
    crowd: tuple[bool, ...] | None = None

    @classmethod
    def of_masks(cls, file_name: str, masks: Any, class_ids: Any, scores: Any = None) -> ImageInstances:
        """From arrays of numpy or torch.

        Args:
            file_name: of the image.
            masks: (N, H, W) bool.
            class_ids: (N,) integers.
            scores: (N,), or None.

        Raises:
            InputError: masks have another shape or type.
        """
        told = None if scores is None else tuple(map(float, scores))
        codes = tuple(encode_masks(masks))
        return cls(file_name, tuple(masks.shape[1:]), tuple(map(int, class_ids)), codes, told)

    def masks(self) -> np.ndarray:
        """(N, H, W) bool.

        Raises:
            InputError: a code is damaged, or all masks together are too large, see `decode_masks`.
        """
        return decode_masks(self.codes, self.size, self.file_name)


def coco_json(images: Sequence[ImageInstances], classes: Sequence[str]) -> dict[str, Any]:
    """Instances as COCO's annotation files hold them.

    Ids of images and annotations count from 1, in the order given. That of a category is its class id + 1.
    Scores, which COCO leaves to results, stand beside their masks, so that labels that no person drew keep
    them; other readers pass over them.

    Args:
        images: also those without an instance.
        classes: names; the position is the class id.

    Returns:
        The object for the file.

    Raises:
        InputError: an instance has no mask of the image's size, no class of the list, or a strange score.
    """
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, FIRST_ID):
        for number, code, where in _instances(image, len(classes)):
            area, box = area_and_box(code)
            score = {} if image.scores is None else {"score": check_score(image.scores[number], where)}
            annotations.append(
                {
                    "id": FIRST_ID + len(annotations),
                    "image_id": image_id,
                    "category_id": FIRST_ID + int(image.class_ids[number]),
                    "segmentation": code,
                    "area": area,
                    "bbox": box,
                    "iscrowd": int(bool(image.crowd and image.crowd[number])),
                    **score,
                }
            )
    listed = [
        {"id": image_id, "file_name": image.file_name, "height": image.size[0], "width": image.size[1]}
        for image_id, image in enumerate(images, FIRST_ID)
    ]
    return {"images": listed, "annotations": annotations, "categories": categories(classes)}


def coco_results(images: Sequence[ImageInstances], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Instances as COCO's results, with the ids that `coco_json` gives the same list of images.

    Args, Raises:
        As in `coco_json`. Instances without a score get SURE.
    """
    return [
        {
            "image_id": image_id,
            "category_id": FIRST_ID + int(image.class_ids[number]),
            "segmentation": code,
            "score": SURE if image.scores is None else check_score(image.scores[number], where),
        }
        for image_id, image in enumerate(images, FIRST_ID)
        for number, code, where in _instances(image, len(classes))
    ]


def read_coco_json(
    value: Any, classes: Sequence[str] | None = None, *, where: str = "COCO JSON"
) -> tuple[list[ImageInstances], tuple[str, ...]]:
    """The instances that a COCO annotation file holds. Masks stay codes, each checked by its image's size.

    Args:
        value: what the file holds, as `parse_json` gives it. Somebody else may have written it.
        classes: names whose positions are the class ids; None takes the file's categories in their order.
        where: its path, for errors.

    Returns:
        Each image of the file, in its order; and the names of the classes. An instance without a score has
        SURE if another one of its image has a score.

    Raises:
        InputError: the file is no such file, an id leads nowhere, a category is no class, or a mask is none.
    """
    file = check_file(value, SCHEMA, where)
    names, class_ids = read_categories(file["categories"], classes, where)
    images = by_id(file["images"], "images", where)
    of_image: dict[int, list[tuple[Rle, int, float | None, bool]]] = {image_id: [] for image_id in images}
    for number, annotation in enumerate(file["annotations"]):
        here = f"{where}, annotation {number}"
        image = named(images, annotation["image_id"], "image", here)
        class_id = named(class_ids, annotation["category_id"], "category", here)
        code = read_segmentation(annotation["segmentation"], _size(image), here)
        crowd = annotation.get("iscrowd", 0) == 1
        of_image[image["id"]].append((code, class_id, read_score(annotation, here), crowd))
    return [_image(image, of_image[image_id]) for image_id, image in images.items()], names


def _image(image: Mapping[str, Any], found: list[tuple[Rle, int, float | None, bool]]) -> ImageInstances:
    codes, class_ids, scores, crowd = zip(*found, strict=True) if found else ((), (), (), ())
    scored = any(score is not None for score in scores)
    return ImageInstances(
        image["file_name"],
        _size(image),
        class_ids,
        codes,
        tuple(SURE if score is None else score for score in scores) if scored else None,
        crowd if any(crowd) else None,
    )


def _size(image: Mapping[str, Any]) -> tuple[int, int]:
    return image["height"], image["width"]


def _instances(image: ImageInstances, classes: int) -> Iterator[tuple[int, Rle, str]]:
    """Number, checked code and place of each instance."""
    lists = {"class_ids": image.class_ids, "scores": image.scores, "crowd": image.crowd}
    for name, values in lists.items():
        if values is not None and len(values) != len(image.codes):
            raise InputError(
                f"{image.file_name}: has {len(image.codes)} masks and {len(values)} {name}, expected as many"
            )
    for number, code in enumerate(image.codes):
        where = f"{image.file_name}, instance {number}"
        check_class(image.class_ids[number], classes, where)
        yield number, checked(code, image.size, where), where
