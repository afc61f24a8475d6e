"""A miniature of YouTube-VIS: videos of noise, boxes for objects, and the JSON of their truth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from helpers.layouts import SIZE, write_frame
from helpers.video_instances import rle

CATEGORIES = {7: "person", 3: "dog", 9: "zebra"}
"""Category id -> name, in the order of the file, which is not that of the ids."""


def box_code(y: int, x: int, height: int = 8, width: int = 8, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """The code of a box."""
    mask = np.zeros(size, bool)
    mask[y : y + height, x : x + width] = True
    return rle(mask)


def listed_codes(code: Mapping[str, Any]) -> dict[str, Any]:
    """The same mask with its runs as a list, as the official files have them."""
    from weclick.common.rle import run_lengths

    return {"size": code["size"], "counts": run_lengths(code, code["size"]).tolist()}


def video(video_id: int, name: str, frames: int, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """A video of every fifth frame."""
    return {
        "id": video_id,
        "file_names": [f"{name}/{5 * t:05d}.jpg" for t in range(frames)],
        "length": frames,
        "height": size[0],
        "width": size[1],
    }


def track(number: int, video_id: int, category: int, masks: Iterable[Any], **more: Any) -> dict[str, Any]:
    """An object: a mask or None for each frame."""
    listed = [*masks]
    return {
        "id": number,
        "video_id": video_id,
        "category_id": category,
        "segmentations": listed,
        "areas": [mask and 64 for mask in listed],
        "bboxes": [mask and [0, 0, 8, 8] for mask in listed],
        "iscrowd": 0,
        **more,
    }


def small_file() -> dict[str, Any]:
    """Two videos: `aa` of three frames with a person and a dog, and `bb` of two frames with two dogs."""
    dog = box_code(10, 20)
    return {
        "info": {"description": "a miniature", "contributors": ["nobody", 1]},
        "licenses": ["none"],
        "videos": [video(17, "aa", 3), video(4, "bb", 2)],
        "annotations": [
            track(1, 17, 7, [box_code(2, 2), box_code(2, 4), None]),
            track(2, 17, 3, [listed_codes(dog), None, None]),
            track(3, 4, 3, [dog, dog]),
            track(4, 4, 3, [None, [[30.0, 2.0, 40.0, 2.0, 40.0, 9.0, 30.0, 9.0]]]),
        ],
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
    }


def many_file(videos: int) -> dict[str, Any]:
    """Videos of one frame and one object; every third is a person, a dog, a zebra."""
    ids = [*CATEGORIES]
    return {
        "videos": [video(i, f"v{i:03d}", 1) for i in range(videos)],
        "annotations": [track(i, i, ids[i % 3], [box_code(2, 2)]) for i in range(videos)],
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
    }


def write_tree(root: Path, file: Mapping[str, Any], name: str = "train.json") -> Path:
    """The JSON, and an image for each frame that it lists."""
    write_file(root, file, name)
    for one in file["videos"]:
        for t, frame in enumerate(one["file_names"]):
            size = (one["height"], one["width"])
            write_frame(root / "train/JPEGImages" / frame, 100 * one["id"] + t, size)
    return root


def write_file(root: Path, file: Mapping[str, Any], name: str = "train.json") -> None:
    """The JSON alone."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(file), encoding="utf-8")
